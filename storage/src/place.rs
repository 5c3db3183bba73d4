//! Places on Earth in a payload index: in the order of a curve that keeps near places together.
//!
//! Longitude and latitude are rounded to 32 bits each, and their bits alternate (a Z-order curve). A rectangle is covered by a
//! few ranges of the curve, which hold somewhat more than it does.

use twofold_types::{GeoBoundingBox, GeoPoint};

/// Ranges that cover a rectangle at most. More are nearer to it and take longer to look up.
const RANGES: usize = 64;

/// A place on the curve.
pub(crate) fn place(point: GeoPoint) -> u64 {
    interleaved(cell(point.lon, 180.0), cell(point.lat, 90.0))
}

/// The ranges of the curve, both ends included, that cover a rectangle.
pub(crate) fn ranges(bounds: &GeoBoundingBox) -> Vec<(u64, u64)> {
    let (west, east) = (bounds.top_left.lon, bounds.bottom_right.lon);
    let south_north = (cell(bounds.bottom_right.lat, 90.0), cell(bounds.top_left.lat, 90.0));
    let mut ranges = Vec::new();
    if south_north.0 > south_north.1 {
        return ranges;
    }
    let spans: &[(f64, f64)] = match west > east {
        true => &[(west, 180.0), (-180.0, east)],
        false => &[(west, east)],
    };
    for (west, east) in spans {
        cover(
            (cell(*west, 180.0), cell(*east, 180.0)),
            south_north,
            RANGES / spans.len(),
            &mut ranges,
        );
    }
    ranges.sort_unstable();
    ranges.dedup_by(|next, before| {
        let adjoins = next.0 <= before.1.saturating_add(1);
        if adjoins {
            before.1 = before.1.max(next.1);
        }
        adjoins
    });
    ranges
}

fn cell(degrees: f64, end: f64) -> u32 {
    let share = (degrees.clamp(-end, end) + end) / (2.0 * end);
    // Saturates at the end.
    (share * 4_294_967_296.0) as u32
}

fn interleaved(lon: u32, lat: u32) -> u64 {
    let spread = |bits: u32| {
        let mut x = u64::from(bits);
        x = (x | x << 16) & 0x0000_ffff_0000_ffff;
        x = (x | x << 8) & 0x00ff_00ff_00ff_00ff;
        x = (x | x << 4) & 0x0f0f_0f0f_0f0f_0f0f;
        x = (x | x << 2) & 0x3333_3333_3333_3333;
        (x | x << 1) & 0x5555_5555_5555_5555
    };
    spread(lon) << 1 | spread(lat)
}

/// A square of the world: all places whose first `depth` bits of both coordinates are these.
#[derive(Clone, Copy)]
struct Square {
    lon: u32,
    lat: u32,
    depth: u32,
}

impl Square {
    /// The bits that are open.
    fn open(self) -> u32 {
        u32::MAX.checked_shr(self.depth).unwrap_or(0)
    }

    fn range(self) -> (u64, u64) {
        let open = self.open();
        (
            interleaved(self.lon, self.lat),
            interleaved(self.lon | open, self.lat | open),
        )
    }
}

/// Cuts squares that reach beyond the rectangle into four, the largest first, as long as there are not too many.
fn cover(lon: (u32, u32), lat: (u32, u32), most: usize, ranges: &mut Vec<(u64, u64)>) {
    let mut squares = std::collections::VecDeque::from([Square {
        lon: 0,
        lat: 0,
        depth: 0,
    }]);
    let mut done = 0;
    while let Some(square) = squares.pop_front() {
        let open = square.open();
        let inside = |bounds: (u32, u32), low: u32| bounds.0 <= low && low | open <= bounds.1;
        let apart = |bounds: (u32, u32), low: u32| bounds.1 < low || low | open < bounds.0;
        if apart(lon, square.lon) || apart(lat, square.lat) {
            continue;
        }
        let whole = inside(lon, square.lon) && inside(lat, square.lat);
        if whole || square.depth == 32 || done + squares.len() + 4 > most {
            ranges.push(square.range());
            done += 1;
            continue;
        }
        let half = 1 << (31 - square.depth);
        for (east, north) in [(0, 0), (0, half), (half, 0), (half, half)] {
            squares.push_back(Square {
                lon: square.lon | east,
                lat: square.lat | north,
                depth: square.depth + 1,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_in_a_rectangle_is_in_its_ranges(
            west in -180.0..180.0f64, east in -180.0..180.0f64, a in -90.0..90.0f64, b in -90.0..90.0f64,
            points in proptest::collection::vec((-180.0..180.0f64, -90.0..90.0f64), 200),
        ) {
            let bounds = GeoBoundingBox {
                top_left: GeoPoint { lon: west, lat: a.max(b) },
                bottom_right: GeoPoint { lon: east, lat: a.min(b) },
            };
            let ranges = ranges(&bounds);
            prop_assert!(ranges.len() <= RANGES);
            for (lon, lat) in points {
                let point = GeoPoint { lon, lat };
                let place = place(point);
                let found = ranges.iter().any(|&(low, high)| (low..=high).contains(&place));
                prop_assert!(found || !bounds.contains(point), "{point:?} {bounds:?}");
            }
        }
    }

    #[test]
    fn a_small_rectangle_leaves_most_of_the_world_out() {
        let bounds = GeoBoundingBox {
            top_left: GeoPoint { lon: 13.0, lat: 52.7 },
            bottom_right: GeoPoint { lon: 13.8, lat: 52.3 },
        };
        let covered: u64 = ranges(&bounds).iter().map(|(low, high)| high - low).sum();
        assert!((covered as f64) < 2f64.powi(64) / 10_000.0, "{covered}");
    }
}
