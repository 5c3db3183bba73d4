//! Places on Earth.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// The mean radius of the Earth in metres, as the IUGG has it.
const RADIUS: f64 = 6_371_008.8;

/// A point in degrees.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GeoPoint {
    /// Longitude, -180 to 180.
    pub lon: f64,
    /// Latitude, -90 to 90.
    pub lat: f64,
}

impl GeoPoint {
    /// The point that a payload value is: an object with the numbers `lon` and `lat`.
    pub fn of(value: &Value) -> Option<Self> {
        let number = |key: &str| value.get(key)?.as_f64().filter(|degrees| degrees.is_finite());
        Some(Self {
            lon: number("lon")?,
            lat: number("lat")?,
        })
    }

    /// The distance over the surface of a sphere in metres (haversine).
    pub fn distance(self, other: Self) -> f64 {
        let (lat, other_lat) = (self.lat.to_radians(), other.lat.to_radians());
        let half_lat = ((other_lat - lat) / 2.0).sin();
        let half_lon = ((other.lon - self.lon).to_radians() / 2.0).sin();
        let chord = half_lat * half_lat + lat.cos() * other_lat.cos() * half_lon * half_lon;
        2.0 * RADIUS * chord.sqrt().min(1.0).asin()
    }
}

/// A rectangle of degrees. Its western edge may be east of the eastern one: then it spans the antimeridian.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GeoBoundingBox {
    /// The north-western corner.
    pub top_left: GeoPoint,
    /// The south-eastern corner.
    pub bottom_right: GeoPoint,
}

impl GeoBoundingBox {
    /// Whether a point is inside, the edges left out.
    pub fn contains(&self, point: GeoPoint) -> bool {
        let (west, east) = (self.top_left.lon, self.bottom_right.lon);
        let between = match west > east {
            true => point.lon > west || point.lon < east,
            false => west < point.lon && point.lon < east,
        };
        between && self.bottom_right.lat < point.lat && point.lat < self.top_left.lat
    }
}

/// A circle.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GeoRadius {
    /// Its centre.
    pub center: GeoPoint,
    /// Its radius in metres.
    pub radius: f64,
}

impl GeoRadius {
    /// Whether a point is nearer than the radius.
    pub fn contains(&self, point: GeoPoint) -> bool {
        self.center.distance(point) < self.radius
    }

    /// A rectangle around it, and somewhat more.
    pub fn bounds(&self) -> GeoBoundingBox {
        const ROOM: f64 = 1.0 + 1e-6;
        let reach = (self.radius / RADIUS).max(0.0) * ROOM;
        let lat = reach.to_degrees() + 1e-9;
        let (north, south) = (self.center.lat + lat, self.center.lat - lat);
        // At a pole, or around it, every longitude is near.
        let whole = north >= 90.0 || south <= -90.0 || reach >= std::f64::consts::FRAC_PI_2;
        let ratio = reach.sin() / self.center.lat.to_radians().cos();
        let lon = match whole || ratio >= 1.0 {
            true => 180.0,
            false => ratio.asin().to_degrees() * ROOM + 1e-9,
        };
        let around = |degrees: f64| match degrees {
            degrees if degrees > 180.0 => degrees - 360.0,
            degrees if degrees < -180.0 => degrees + 360.0,
            degrees => degrees,
        };
        let (west, east) = match lon >= 180.0 {
            true => (-181.0, 181.0),
            false => (around(self.center.lon - lon), around(self.center.lon + lon)),
        };
        GeoBoundingBox {
            top_left: GeoPoint { lon: west, lat: north },
            bottom_right: GeoPoint { lon: east, lat: south },
        }
    }
}

/// A closed line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GeoLineString {
    /// Its points, the last one being the first.
    pub points: Vec<GeoPoint>,
}

/// An area, with holes in it where there are `interiors`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GeoPolygon {
    /// What is around it.
    pub exterior: GeoLineString,
    /// What is around each hole.
    #[serde(default, deserialize_with = "null_is_none", skip_serializing_if = "Vec::is_empty")]
    pub interiors: Vec<GeoLineString>,
}

fn null_is_none<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<GeoLineString>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl GeoPolygon {
    /// Whether a point is inside and in no hole. A point on a line is outside of the area, and in the hole.
    pub fn contains(&self, point: GeoPoint) -> bool {
        self.exterior.encloses(point, false) && !self.interiors.iter().any(|hole| hole.encloses(point, true))
    }

    /// Whether all its lines are closed and have at least three sides.
    pub fn is_closed(&self) -> bool {
        let mut lines = std::iter::once(&self.exterior).chain(&self.interiors);
        lines.all(|line| line.points.len() >= 4 && line.points.first() == line.points.last())
    }

    /// A rectangle around it, and somewhat more.
    pub fn bounds(&self) -> GeoBoundingBox {
        const ROOM: f64 = 1e-9;
        let mut bounds = GeoBoundingBox {
            top_left: GeoPoint {
                lon: f64::INFINITY,
                lat: f64::NEG_INFINITY,
            },
            bottom_right: GeoPoint {
                lon: f64::NEG_INFINITY,
                lat: f64::INFINITY,
            },
        };
        for point in &self.exterior.points {
            bounds.top_left.lon = bounds.top_left.lon.min(point.lon - ROOM);
            bounds.top_left.lat = bounds.top_left.lat.max(point.lat + ROOM);
            bounds.bottom_right.lon = bounds.bottom_right.lon.max(point.lon + ROOM);
            bounds.bottom_right.lat = bounds.bottom_right.lat.min(point.lat - ROOM);
        }
        bounds
    }
}

impl GeoLineString {
    /// Whether a point is inside, by how often a ray from it crosses the line; `on_it` where it is on the line.
    fn encloses(&self, point: GeoPoint, on_it: bool) -> bool {
        let mut inside = false;
        for side in self.points.windows(2) {
            let (a, b) = (side[0], side[1]);
            let area = point.lon * (a.lat - b.lat) + a.lon * (b.lat - point.lat) + b.lon * (point.lat - a.lat);
            let beside =
                (a.lat - point.lat) * (b.lat - point.lat) <= 0.0 && (a.lon - point.lon) * (b.lon - point.lon) <= 0.0;
            if area == 0.0 && beside {
                return on_it;
            }
            let crosses = (a.lon > point.lon) != (b.lon > point.lon)
                && point.lat < (b.lat - a.lat) * (point.lon - a.lon) / (b.lon - a.lon) + a.lat;
            inside ^= crosses;
        }
        inside
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BERLIN: GeoPoint = GeoPoint {
        lon: 13.405,
        lat: 52.52,
    };
    const MOSCOW: GeoPoint = GeoPoint {
        lon: 37.6173,
        lat: 55.7558,
    };

    #[test]
    fn a_circle_is_inside_of_its_bounds() {
        let distance = BERLIN.distance(MOSCOW);
        assert!((1_600_000.0..1_650_000.0).contains(&distance), "{distance}");
        for center in [
            BERLIN,
            GeoPoint { lon: 179.9, lat: -60.0 },
            GeoPoint { lon: -179.5, lat: 89.0 },
            GeoPoint { lon: 0.0, lat: 0.0 },
        ] {
            for radius in [10.0, 50_000.0, 3e6, 2.1e7] {
                let circle = GeoRadius { center, radius };
                for lon in (-180..=180).step_by(3) {
                    for lat in (-90..=90).step_by(3) {
                        let point = GeoPoint {
                            lon: f64::from(lon),
                            lat: f64::from(lat),
                        };
                        assert!(
                            !circle.contains(point) || circle.bounds().contains(point),
                            "{circle:?} {point:?}"
                        );
                    }
                }
                assert!(circle.bounds().contains(center));
            }
        }
    }

    #[test]
    fn a_hole_and_the_antimeridian_are_respected() {
        let line = |corners: [(f64, f64); 5]| GeoLineString {
            points: corners.map(|(lon, lat)| GeoPoint { lon, lat }).to_vec(),
        };
        let square = GeoPolygon {
            exterior: line([(0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (0.0, 10.0), (0.0, 0.0)]),
            interiors: vec![line([(4.0, 4.0), (6.0, 4.0), (6.0, 6.0), (4.0, 6.0), (4.0, 4.0)])],
        };
        let at = |lon: f64, lat: f64| GeoPoint { lon, lat };
        assert!(square.is_closed() && square.contains(at(2.0, 2.0)));
        assert!(!square.contains(at(5.0, 5.0)) && !square.contains(at(4.0, 5.0)));
        assert!(!square.contains(at(0.0, 5.0)) && !square.contains(at(11.0, 5.0)));
        let pacific = GeoBoundingBox {
            top_left: at(170.0, 10.0),
            bottom_right: at(-170.0, -10.0),
        };
        assert!(
            pacific.contains(at(179.0, 0.0)) && pacific.contains(at(-179.0, 0.0)) && !pacific.contains(at(0.0, 0.0))
        );
    }

    #[test]
    fn a_place_in_a_payload_is_two_numbers() {
        assert_eq!(
            GeoPoint::of(&serde_json::json!({"lon": 1, "lat": 2.5})),
            Some(GeoPoint { lon: 1.0, lat: 2.5 })
        );
        assert_eq!(GeoPoint::of(&serde_json::json!({"lon": "1", "lat": 2.5})), None);
        assert_eq!(GeoPoint::of(&serde_json::json!([1, 2])), None);
    }
}
