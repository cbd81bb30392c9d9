//! `haversine_m(lat1, lon1, lat2, lon2)`: the distance between two places on a sphere, in metres.

use crate::engine::function::{Argument, FunctionError, Outcome, Output, Scalar};

/// The mean radius of the Earth in metres, R₁ of the International Union of Geodesy and Geophysics.
pub const EARTH_RADIUS_M: f64 = 6_371_008.8;

/// The functions.
pub static SCALARS: [Scalar; 1] = [Scalar { name: c"haversine_m", arguments: 4, call: haversine_m }];

fn haversine_m(arguments: &[Argument<'_>]) -> Outcome {
    let mut radians = [0.0; 4];
    let kinds = [("latitude", 90.0), ("longitude", f64::MAX)];
    let mut missing = false;
    for (i, (slot, argument)) in radians.iter_mut().zip(arguments).enumerate() {
        let (kind, most) = kinds[i % 2];
        match degrees(*argument, kind, most)? {
            Some(degrees) => *slot = degrees.to_radians(),
            None => missing = true,
        }
    }
    if missing {
        return Ok(Output::Null);
    }
    let [lat1, lon1, lat2, lon2] = radians;
    let half_chord =
        ((lat2 - lat1) / 2.0).sin().powi(2) + lat1.cos() * lat2.cos() * ((lon2 - lon1) / 2.0).sin().powi(2);
    // Rounding may take opposite places beyond 1.
    Ok(Output::Real(2.0 * EARTH_RADIUS_M * half_chord.sqrt().min(1.0).asin()))
}

/// `None` for NULL.
fn degrees(argument: Argument<'_>, kind: &str, most: f64) -> Result<Option<f64>, FunctionError> {
    let degrees = match argument {
        Argument::Null => return Ok(None),
        Argument::Integer(integer) => integer as f64,
        Argument::Real(real) => real,
        Argument::Text(_) | Argument::Blob(_) => {
            return Err(FunctionError::Mismatch(format!("haversine_m: a {kind} is a number of degrees")))
        }
    };
    if degrees.abs() <= most {
        Ok(Some(degrees))
    } else {
        Err(FunctionError::Mismatch(format!("haversine_m: {degrees} is no {kind}")))
    }
}
