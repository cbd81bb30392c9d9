//! A primary and servers that follow it: where reads go, with what in them, and what becomes of them while the primary is gone.

use super::mock::{usual, Asked, Cutter, Mock, Says};
use super::{open, open_with};
use crate::list;
use crate::sqld::Sqld;
use crate::support::{eventually, numbers, Conn, Outcome, Sidecar};
use crate::term::{atom, Term};
use serde_json::Value;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Texts of statements, and the place of the log that was waited for.
type Statements = Arc<Mutex<Vec<(String, Option<String>)>>>;

/// What a server of these tests has been asked, and how it is.
struct Server {
    mock: Mock,
    asked: Statements,
    gone: Arc<AtomicBool>,
    /// It answers nothing that waits for a place of the log.
    behind: Arc<AtomicBool>,
    /// Where its log is.
    index: Arc<AtomicU64>,
}

fn server() -> Server {
    let asked: Statements = Arc::default();
    let (gone, behind) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let index = Arc::new(AtomicU64::new(1));
    let mock = {
        let (asked, gone, behind, index) =
            (Arc::clone(&asked), Arc::clone(&gone), Arc::clone(&behind), Arc::clone(&index));
        Mock::start(move |request| {
            if gone.load(Ordering::SeqCst) {
                return Says::Cut(vec![]);
            }
            let mut waits = false;
            for (sql, since) in statements(request) {
                waits |= since.is_some();
                asked.lock().unwrap().push((sql, since));
            }
            if waits && behind.load(Ordering::SeqCst) {
                return Says::Nothing;
            }
            let Says::Json(status, mut answer) = usual(request, true, None) else { panic!() };
            let place = index.load(Ordering::SeqCst).to_string();
            for result in answer["results"].as_array_mut().unwrap() {
                if let Some(result) = result["response"].get_mut("result") {
                    result["replication_index"] = Value::String(place.clone());
                }
            }
            Says::Json(status, answer)
        })
    };
    Server { mock, asked, gone, behind, index }
}

/// Of executes and batches: the text of the first statement, and the place that is waited for.
fn statements(asked: &Asked) -> Vec<(String, Option<String>)> {
    let requests = asked.body["requests"].as_array().cloned().unwrap_or_default();
    let of = |request: &Value| {
        let (stmt, since) = match request["type"].as_str()? {
            "execute" => (&request["stmt"], &request["stmt"]["replication_index"]),
            "batch" => (&request["batch"]["steps"][0]["stmt"], &request["batch"]["replication_index"]),
            _ => return None,
        };
        Some((stmt["sql"].as_str()?.to_owned(), since.as_str().map(str::to_owned)))
    };
    requests.iter().filter_map(of).collect()
}

impl Server {
    fn texts(&self) -> Vec<String> {
        self.asked.lock().unwrap().drain(..).map(|(sql, _)| sql).collect()
    }
}

fn options(replicas: &[&str], more: &[(&'static str, Term)]) -> Vec<(&'static str, Term)> {
    let urls = replicas.iter().map(|&url| Term::from(url)).collect();
    let mut options = vec![
        ("stream_idle_ms", Term::from(0)),
        ("replica_urls", Term::List(urls)),
        ("breaker_failures", 2.into()),
        ("breaker_delay_ms", 10.into()),
        ("breaker_delay_max_ms", 20.into()),
    ];
    options.extend(more.iter().cloned());
    options
}

#[track_caller]
fn came_from(outcome: &Outcome, url: &str, stale: bool) {
    assert_eq!(outcome.source.len(), 3, "it came from the primary");
    assert_eq!((outcome.source[0].text(), &outcome.source[1]), (url, &stale.into()));
}

#[test]
fn reads_go_to_servers_that_follow_in_turn_and_nothing_else_does() {
    let (primary, first, second) = (server(), server(), server());
    let sidecar = Sidecar::start();
    let urls = [first.mock.url(), second.mock.url()];
    let given = options(&[&urls[0], &urls[1]], &[("read_from", atom("replica"))]);
    let conn = open_with(&sidecar, &primary.mock.url(), &given).unwrap();
    let from: Vec<_> = (0..4).map(|_| conn.exec("SELECT 1").source[0].text().to_owned()).collect();
    assert_eq!((&from[0], &from[1]), (&from[2], &from[3]));
    assert!(from[0] != from[1] && urls.contains(&from[0]) && urls.contains(&from[1]));
    assert_eq!(primary.texts(), [""; 0]);
    first.texts();
    second.texts();
    for sql in ["INSERT INTO t VALUES (1)", "CREATE TABLE t(a)", "PRAGMA table_info(t)"] {
        assert_eq!(conn.exec(sql).source, [], "{sql}");
    }
    conn.script("SELECT 1").unwrap();
    conn.batch(false, &[("SELECT 1", list![])]).unwrap();
    conn.batch(true, &[("SELECT 1", list![])]).unwrap();
    assert_eq!(primary.texts().len(), 6);
    assert_eq!((first.texts(), second.texts()), (vec![], vec![]));
    came_from(&conn.exec("WITH x AS (SELECT 1) SELECT * FROM x"), &from[0], false);
    assert_eq!(first.texts().len() + second.texts().len(), 1);
    assert_eq!(primary.texts(), [""; 0]);
}

#[test]
fn a_server_is_read_once_it_has_what_was_written() {
    let (primary, replica) = (server(), server());
    let sidecar = Sidecar::start();
    let given =
        options(&[&replica.mock.url()], &[("read_from", atom("replica")), ("replica_wait_ms", 100.into())]);
    let conn = open_with(&sidecar, &primary.mock.url(), &given).unwrap();
    let other = open_with(&sidecar, &primary.mock.url(), &given).unwrap();
    let url = replica.mock.url();
    primary.index.store(7, Ordering::SeqCst);
    conn.exec("INSERT INTO t VALUES (1)");
    came_from(&conn.exec("SELECT 1"), &url, false);
    let waited: Vec<_> = replica.asked.lock().unwrap().drain(..).map(|(_, since)| since).collect();
    assert_eq!(waited, [Some("7".to_owned()), None]);
    // By whichever connection of the program it was written.
    came_from(&other.exec("SELECT 1"), &url, false);
    let waited: Vec<_> = replica.asked.lock().unwrap().drain(..).map(|(_, since)| since).collect();
    assert_eq!(waited, [Some("7".to_owned()), None]);
    replica.index.store(7, Ordering::SeqCst);
    for _ in 0..2 {
        came_from(&conn.exec("SELECT 1"), &url, false);
    }
    assert_eq!(replica.texts().len(), 3, "it has said that it is there");
    // One that does not get there is not waited for longer than that.
    replica.behind.store(true, Ordering::SeqCst);
    primary.index.store(8, Ordering::SeqCst);
    conn.exec("INSERT INTO t VALUES (2)");
    assert_eq!(conn.exec("SELECT 1").source, [], "the primary has it");
    replica.behind.store(false, Ordering::SeqCst);
    eventually("its breaker closes", || !conn.exec("SELECT 1").source.is_empty());
    // After the loss of its log a primary counts from the beginning.
    primary.index.store(3, Ordering::SeqCst);
    replica.index.store(3, Ordering::SeqCst);
    replica.texts();
    conn.exec("INSERT INTO t VALUES (3)");
    came_from(&conn.exec("SELECT 1"), &url, false);
    let waited: Vec<_> = replica.asked.lock().unwrap().drain(..).map(|(_, since)| since).collect();
    assert_eq!(waited, [Some("3".to_owned()), None], "what it had of another log says nothing");
}

#[test]
fn a_read_falls_back_to_a_server_that_may_be_stale_and_a_write_never_does() {
    let (primary, first, second) = (server(), server(), server());
    let sidecar = Sidecar::start();
    let urls = [first.mock.url(), second.mock.url()];
    let only_second = Term::List(vec![Term::from(urls[1].as_str())]);
    let given = options(&[&urls[0], &urls[1]], &[("fallback_reads", only_second)]);
    let conn = open_with(&sidecar, &primary.mock.url(), &given).unwrap();
    assert_eq!(conn.exec("SELECT 1").source, []);
    conn.exec("INSERT INTO t VALUES (1)");
    primary.gone.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        let outcome = conn.exec("SELECT 1");
        came_from(&outcome, &urls[1], true);
        assert!(outcome.source[2].int() >= 0);
        let with = conn.exec("WITH x AS (SELECT 1) SELECT * FROM x");
        came_from(&with, &urls[1], true);
    }
    assert_eq!(conn.query("INSERT INTO t VALUES (1)", list![]).unwrap_err().code, "remote_unavailable");
    assert_eq!(conn.begin("deferred").unwrap_err().code, "remote_unavailable");
    assert_eq!(conn.script("SELECT 1").unwrap_err().code, "remote_unavailable", "single statements alone");
    assert_eq!(first.texts(), [""; 0], "it is not among those that may be read");
    assert!(second.asked.lock().unwrap().iter().all(|(_, since)| since.is_none()));
    // A connection that is opened meanwhile reads as well.
    let late = open_with(&sidecar, &primary.mock.url(), &given).unwrap();
    came_from(&late.exec("SELECT 1"), &urls[1], true);
    let strict = open_with(&sidecar, &primary.mock.url(), &options(&[&urls[0], &urls[1]], &[]));
    assert_eq!(strict.err().unwrap().code, "remote_unavailable");
    // The last one to be asked is gone too: what is said is what the primary has failed with.
    second.gone.store(true, Ordering::SeqCst);
    let failure = conn.query("SELECT 1", list![]).unwrap_err();
    assert_eq!(failure.code, "remote_unavailable");
    assert!(failure.message.contains(&primary.mock.url()), "{}", failure.message);
    primary.gone.store(false, Ordering::SeqCst);
    eventually("the primary is back", || {
        conn.query("SELECT 1", list![]).is_ok_and(|it| it.source.is_empty())
    });
}

#[test]
fn the_nearest_server_is_the_one_that_answers_soonest() {
    let Some(server) = Sqld::start() else { return };
    let slow = Mock::start(|asked| {
        std::thread::sleep(std::time::Duration::from_millis(300));
        usual(asked, true, None)
    });
    let sidecar = Sidecar::start();
    let given =
        options(&[&server.url()], &[("read_from", atom("nearest")), ("measure_interval_ms", 50.into())]);
    let conn = open_with(&sidecar, &slow.url(), &given).unwrap();
    eventually("it is measured", || {
        let status = conn.status();
        status.get("servers").items().iter().all(|server| server.get("latency_us").some_int().is_some())
    });
    let outcome = conn.exec("SELECT 7");
    came_from(&outcome, &server.url(), false);
    assert_eq!(outcome.rows, [[Term::from(7)]]);
}

#[test]
fn what_contradicts_itself_is_refused() {
    let sidecar = Sidecar::start();
    let url = "http://127.0.0.1:1";
    let one = || Term::List(vec![Term::from("http://127.0.0.1:2")]);
    for (given, words) in [
        (vec![("read_from", atom("replica"))], "replica_urls"),
        (vec![("fallback_reads", true.into())], "replica_urls"),
        (
            vec![("replica_urls", one()), ("fallback_reads", Term::List(vec!["http://127.0.0.1:3".into()]))],
            "some of replica_urls",
        ),
        (vec![("replica_urls", Term::List(vec!["http://10.0.0.1".into()]))], "tls: false"),
        (
            vec![("replica_urls", Term::List(vec!["http://127.0.0.1:2?authToken=secret".into()]))],
            "bear no tokens",
        ),
    ] {
        let failure = open_with(&sidecar, url, &given).err().unwrap();
        assert_eq!(failure.code, "invalid_option");
        assert!(
            failure.message.contains(words) && !failure.message.contains("secret"),
            "{}",
            failure.message
        );
    }
}

fn free() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// A primary, and a server that follows it.
fn pair() -> Option<(Sqld, Sqld)> {
    let grpc = free();
    let primary = Sqld::start_with(&["--grpc-listen-addr", &grpc])?;
    let replica = Sqld::start_with(&[
        "--primary-grpc-url",
        &format!("http://{grpc}"),
        "--http-primary-url",
        &primary.url(),
    ])?;
    Some((primary, replica))
}

fn count(conn: &Conn<'_>) -> Outcome {
    conn.exec("SELECT count(*) FROM t")
}

#[test]
fn a_real_server_that_follows_has_what_was_written_before_it_is_read() {
    let Some((primary, replica)) = pair() else { return };
    let sidecar = Sidecar::start();
    let given =
        options(&[&replica.url()], &[("read_from", atom("replica")), ("replica_wait_ms", 20_000.into())]);
    let conn = open_with(&sidecar, &primary.url(), &given).unwrap();
    let other = open_with(&sidecar, &primary.url(), &given).unwrap();
    conn.exec("CREATE TABLE t(a)");
    for n in 1..=40_i64 {
        match n % 3 {
            0 => {
                conn.exec("INSERT INTO t VALUES (1)");
            }
            1 => {
                conn.begin("immediate").unwrap();
                conn.exec("INSERT INTO t VALUES (1)");
                conn.commit().unwrap();
            }
            _ => {
                conn.batch(true, &[("INSERT INTO t VALUES (1)", list![])]).unwrap();
            }
        }
        let reader = if n % 2 == 0 { &conn } else { &other };
        let read = count(reader);
        came_from(&read, &replica.url(), false);
        assert_eq!(read.value().int(), n);
    }
    // What is longer than an answer comes from there as well.
    let long = conn.exec(&format!("SELECT i, hex(zeroblob(200)) FROM ({})", numbers(30_000)));
    assert_eq!((long.num_rows, long.source.len()), (30_000, 3));
    let status = conn.status();
    let roles: Vec<_> =
        status.get("servers").items().iter().map(|it| it.get("role").text().to_owned()).collect();
    assert_eq!(roles, ["primary", "replica"]);
    assert!(status.get("servers").items()[1].get("replication_index").int() > 0);
}

#[test]
fn reads_go_on_while_a_real_primary_is_killed_or_stands_still() {
    let Some((mut primary, replica)) = pair() else { return };
    let sidecar = Sidecar::start();
    let given =
        options(&[&replica.url()], &[("fallback_reads", true.into()), ("probe_timeout_ms", 200.into())]);
    let conn = open_with(&sidecar, &primary.url(), &given).unwrap();
    conn.exec("CREATE TABLE t(a)");
    conn.exec("INSERT INTO t VALUES (1)");
    let follower = open(&sidecar, &replica.url());
    let has_followed = |count: i64| {
        eventually("it has followed", || {
            follower.query("SELECT count(*) FROM t", list![]).is_ok_and(|it| it.value() == &count.into())
        });
    };
    has_followed(1);
    for round in 0..2 {
        match round {
            0 => primary.stop(),
            _ => primary.kill(),
        }
        eventually("reads are stale", || {
            conn.within(500).query("SELECT count(*) FROM t", list![]).is_ok_and(|read| {
                read.source.len() == 3 && read.source[1] == true.into() && read.value() == &(round + 1).into()
            })
        });
        let failure = conn.query("INSERT INTO t VALUES (9)", list![]).unwrap_err();
        assert_eq!(failure.code, "remote_unavailable", "{}", failure.message);
        assert_eq!(conn.begin("immediate").unwrap_err().code, "remote_unavailable");
        match round {
            0 => primary.go_on(),
            _ => primary.go(),
        }
        eventually("the primary is back", || {
            conn.query("SELECT count(*) FROM t", list![]).is_ok_and(|read| read.source.is_empty())
        });
        conn.exec("INSERT INTO t VALUES (1)");
        assert_eq!(count(&conn).value().int(), round + 2, "nothing was queued");
        // A killed primary begins another log, upon which a server that follows may stand still for long.
        if round == 0 {
            has_followed(2);
        }
    }
}

/// The network between the program and the primary is cut, while both servers see each other.
#[test]
fn a_partition_is_told_and_heals() {
    let Some((primary, replica)) = pair() else { return };
    let sidecar = Sidecar::start();
    let cutter = Cutter::before(primary.address);
    let given =
        options(&[&replica.url()], &[("fallback_reads", true.into()), ("idle_sockets_max", 0.into())]);
    let conn = open_with(&sidecar, &cutter.url(), &given).unwrap();
    let direct = open(&sidecar, &primary.url());
    conn.exec("CREATE TABLE t(a)");
    let mut written = 0;
    for round in 0..3 {
        cutter.down.store(0, Ordering::SeqCst);
        let cut = conn.query("INSERT INTO t VALUES (1)", list![]).unwrap_err();
        assert!(["outcome_unknown", "remote_unavailable"].contains(&cut.code.as_str()), "{}", cut.code);
        eventually("reads are stale", || {
            conn.query("SELECT count(*) FROM t", list![]).is_ok_and(|read| read.source.len() == 3)
        });
        cutter.heal();
        eventually("it has healed", || {
            conn.query("SELECT count(*) FROM t", list![]).is_ok_and(|read| read.source.is_empty())
        });
        conn.exec("INSERT INTO t VALUES (2)");
        written += 1;
        let there = direct.value("SELECT count(*) FROM t WHERE a = 2").int();
        assert_eq!(there, written, "{round}: each that was acknowledged is there once");
    }
    let unknown = direct.value("SELECT count(*) FROM t WHERE a = 1").int();
    assert!(unknown <= 3, "{unknown}: nothing is sent twice");
}
