//! Nothing that a client sends makes the wire allocate more than a small multiple of what it sent.
//!
//! A crate of its own, because the counting allocator is global.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use port_driver::frame::FRAME_BYTES_MAX_DEFAULT;
use port_driver::request::{decode, route, tag, Request};
use support::exercise;
use support::fixture::read_all;

struct Counting;

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

fn count(bytes: usize) {
    // Gone only while a thread ends, when nothing is measured.
    let _ = ALLOCATED.try_with(|allocated| allocated.set(allocated.get() + bytes));
}

// SAFETY: every call is passed on to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The bytes that were ever allocated on this thread while `work` ran, freed or not.
fn allocated(work: impl FnOnce()) -> usize {
    let before = ALLOCATED.with(Cell::get);
    work();
    ALLOCATED.with(Cell::get) - before
}

/// What an error message and the tests' own bookkeeping may take.
const FIXED_BYTES: usize = 16 * 1024;

fn check(name: &str, request_tag: u8, payload: &[u8]) {
    let bytes = allocated(|| {
        exercise::payload(request_tag, payload);
    });
    assert!(
        bytes <= 4 * payload.len() + FIXED_BYTES,
        "{name}: {bytes} bytes allocated for {}",
        payload.len()
    );
}

#[test]
fn the_counter_counts() {
    assert!(allocated(|| drop(std::hint::black_box(vec![0u8; 100_000]))) >= 100_000);
}

#[test]
fn requests_without_option_maps_allocate_nothing() {
    for fixture in read_all("golden").iter().filter(|f| f.name.starts_with("request_")) {
        let bytes = allocated(|| {
            let request = decode(fixture.tag(), fixture.payload()).expect("a request");
            if let Request::Execute(execute) = &request {
                execute.params.values().for_each(|value| assert!(value.is_ok()));
                execute.params.named().for_each(|pair| assert!(pair.is_ok()));
            }
            let to_program = matches!(request, Request::Ping(_) | Request::Status | Request::Open(_))
                || (tag::SUBSCRIBE..=tag::CHANGES_CREDIT).contains(&fixture.tag());
            if !to_program {
                assert!(route(fixture.tag(), fixture.payload()).is_ok());
            }
        });
        let has_settings = matches!(
            decode(fixture.tag(), fixture.payload()),
            Ok(Request::Open(open)) if !open.options.pragmas.is_empty()
                || !open.options.limits.is_empty()
                || open.options.policy.is_some()
                || open.options.remote.is_some()
        ) || matches!(decode(fixture.tag(), fixture.payload()), Ok(Request::SetPolicy(_)));
        // A table function has names of columns, a subscription those of tables too.
        let has_names = matches!(fixture.tag(), tag::CREATE_FUNCTION | tag::SET_HOOK | tag::SUBSCRIBE);
        assert!(bytes == 0 || has_settings || has_names, "{}: {bytes} bytes allocated", fixture.name);
    }
}

#[test]
fn altered_frames_allocate_little() {
    for directory in ["golden", "wrong"] {
        for fixture in read_all(directory) {
            let mut payload = fixture.payload().to_vec();
            for at in 0..payload.len() {
                let original = payload[at];
                for altered in [0, 1, 0x7f, 0x80, 0xff, 105, 107, 108, 109, 110, 111, 116] {
                    payload[at] = altered;
                    check(&fixture.name, fixture.tag(), &payload);
                }
                payload[at] = original;
            }
        }
    }
}

#[test]
fn lies_about_lengths_allocate_little() {
    let liars: &[&[u8]] = &[
        b"l\xff\xff\xff\xff",
        b"t\xff\xff\xff\xff",
        b"i\xff\xff\xff\xff",
        b"m\xff\xff\xff\xff",
        b"o\xff\xff\xff\xff\0",
    ];
    for head in liars {
        for filler in [&b"a\x01"[..], b"j", head] {
            let payload = [*head, &filler.repeat(50_000)].concat();
            for request_tag in 0..30 {
                check("a lie", request_tag, &payload);
                let inside = [&b"h\x04a\x01a\x00m\0\0\0\x01x"[..], &payload].concat();
                check("a lie inside", request_tag, &inside);
            }
        }
    }
}

#[test]
fn large_requests_allocate_little() {
    let name = [&b"m\0\x01\0\0"[..], &[b'n'; 65_536]].concat();
    let long_key = [&b"h\x03a\x00m\0\0\0\x01xt\0\0\0\x01"[..], &name, b"j"].concat();
    check("a long option key", 4, &long_key);
    let pragma = [&b"h\x03a\x00m\0\0\0\x01xt\0\0\0\x01w\x07pragmast\0\0\0\x01"[..], &name, b"a\x01"].concat();
    check("a long pragma", 4, &pragma);
    let values = [&b"h\x04a\x01a\x00m\0\0\0\x01xl\0\x01\0\0"[..], &b"a\x07".repeat(65_536), b"j"].concat();
    assert_eq!(allocated(|| assert!(decode(6, &values).is_ok())), 0);
    let item = b"h\x02m\0\0\0\x01xj";
    let batch = [&b"h\x04a\x01a\x00w\x04truel\0\0\x27\x10"[..], &item.repeat(10_000), b"j"].concat();
    let bytes = allocated(|| {
        let Ok(Request::Batch(batch)) = decode(21, &batch) else { panic!("a batch") };
        assert_eq!(batch.statements().filter(Result::is_ok).count(), 10_000);
    });
    assert_eq!(bytes, 0);
}

#[test]
fn frames_allocate_by_what_arrived_and_not_by_what_was_announced() {
    // A gigabyte is announced under a limit that allows it; a hundred bytes come.
    let mut stream = vec![0x40, 0, 0, 0, 131, 104, 3, 98, 0, 0, 1, 0, 97, 6];
    stream.extend([0; 100]);
    for max in [u32::MAX, FRAME_BYTES_MAX_DEFAULT] {
        let bytes = allocated(|| {
            let _ = exercise::stream(&stream, 10, max);
        });
        assert!(bytes <= 4 * stream.len() + FIXED_BYTES, "{bytes} bytes allocated");
    }
}
