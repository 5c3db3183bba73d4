//! Ranking the hits of prefetches by a formula.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use twofold_types::{Datetime, Decay, Expression, Filter, GeoPoint, Operation, Payload};
use twofold_vector::Watch;

use super::{Hit, sort};
use crate::error::{FormulaError, InvalidInput, Result, check_deadline};
use crate::filter::{CompiledFilter, Subject};
use crate::key::PointOffset;
use crate::path::PayloadPath;
use crate::state::Schema;
use crate::view::View;

/// The deepest nesting that is accepted.
const MAX_DEPTH: usize = 64;

/// A formula whose keys, conditions and constants were read.
enum Compiled {
    Constant(f64),
    /// The score of a prefetch, and what stands for it where a point was not found by it.
    Score(usize, f64),
    Key(Key),
    Condition(CompiledFilter),
    Mult(Vec<Self>),
    Sum(Vec<Self>),
    Max(Vec<Self>),
    Min(Vec<Self>),
    Div(Box<Self>, Box<Self>, Option<f64>),
    Pow(Box<Self>, Box<Self>),
    /// A function of one number, with its name.
    Function(&'static str, fn(f64) -> f64, Box<Self>),
    GeoDistance(GeoPoint, Key),
    DatetimeKey(Key),
    Decay(Box<Self>, Box<Self>, Shape),
}

/// A payload key, and what stands for its value where a point has none.
struct Key {
    name: String,
    path: PayloadPath,
    default: Option<Value>,
}

/// How a decay goes with the distance from its target.
enum Shape {
    Linear(f64),
    Exponential(f64),
    Gauss(f64),
}

/// What a formula is computed on.
struct Point<'a> {
    subject: Subject<'a>,
    /// By prefetch.
    scores: &'a [Option<f32>],
}

impl View<'_> {
    /// The points of all sources, by what a formula makes of them.
    pub(super) fn by_formula(
        &self,
        formula: &Expression,
        defaults: &BTreeMap<String, Value>,
        sources: &[Vec<Hit>],
    ) -> Result<Vec<Hit>> {
        let compiled = Compiler {
            defaults,
            schema: &self.state.schema,
        };
        let formula = compiled.expression(formula, 0)?;
        let mut scores: HashMap<u32, Vec<Option<f32>>> = HashMap::new();
        for (number, source) in sources.iter().enumerate() {
            for hit in source {
                let scores = scores.entry(hit.offset).or_insert_with(|| vec![None; sources.len()]);
                scores[number] = Some(hit.score);
            }
        }
        let offsets: Vec<PointOffset> = scores.keys().copied().map(PointOffset).collect();
        let mut hits = Vec::with_capacity(offsets.len());
        let mut watch = Watch::every(256);
        for (&offset, record) in offsets.iter().zip(self.points(&offsets)?) {
            if watch.missed() {
                check_deadline()?;
            }
            let Some(record) = record else { continue };
            let payload = record.payload()?;
            let point = Point {
                subject: Subject {
                    payload: &payload,
                    point: Some((&self.state, offset, record.id())),
                },
                scores: &scores[&offset.0],
            };
            let score = formula.compute(&point).map_err(InvalidInput::from)?;
            if !(score as f32).is_finite() {
                return Err(InvalidInput::from(FormulaError::NonFinite(score.to_string())).into());
            }
            hits.push(Hit::new(offset.0, score as f32));
        }
        sort(&mut hits);
        Ok(hits)
    }
}

struct Compiler<'a> {
    defaults: &'a BTreeMap<String, Value>,
    schema: &'a Schema,
}

impl Compiler<'_> {
    fn expression(&self, expression: &Expression, depth: usize) -> Result<Compiled, InvalidInput> {
        if depth > MAX_DEPTH {
            return Err(InvalidInput::Limit {
                what: "nesting of a formula",
                received: depth,
                limit: MAX_DEPTH,
            });
        }
        match expression {
            Expression::Constant(number) => Ok(Compiled::Constant(*number)),
            Expression::Variable(name) => match score_number(name)? {
                Some(number) => Ok(Compiled::Score(number, self.score_default(number)?)),
                None => self.key(name).map(Compiled::Key),
            },
            Expression::Condition(condition) => {
                let filter = Filter {
                    must: vec![(**condition).clone()],
                    ..Filter::default()
                };
                CompiledFilter::new(&filter, self.schema).map(Compiled::Condition)
            }
            Expression::Operation(operation) => self.operation(operation, depth + 1),
        }
    }

    fn operation(&self, operation: &Operation, depth: usize) -> Result<Compiled, InvalidInput> {
        let one = |operand| self.expression(operand, depth).map(Box::new);
        let all = |operands: &[Expression]| operands.iter().map(|operand| self.expression(operand, depth)).collect();
        let some = |name, operands: &[Expression]| match operands {
            [] => Err(FormulaError::NoOperands(name).into()),
            operands => all(operands),
        };
        let function = |name, function, operand| Ok(Compiled::Function(name, function, one(operand)?));
        match operation {
            Operation::Mult(operands) => all(operands).map(Compiled::Mult),
            Operation::Sum(operands) => all(operands).map(Compiled::Sum),
            Operation::Max(operands) => some("max", operands).map(Compiled::Max),
            Operation::Min(operands) => some("min", operands).map(Compiled::Min),
            Operation::Neg(operand) => function("-", |x| -x, operand),
            Operation::Abs(operand) => function("abs", f64::abs, operand),
            Operation::Sqrt(operand) => function("sqrt", f64::sqrt, operand),
            Operation::Exp(operand) => function("exp", f64::exp, operand),
            Operation::Log10(operand) => function("log10", f64::log10, operand),
            Operation::Ln(operand) => function("ln", f64::ln, operand),
            Operation::Acosh(operand) => function("acosh", f64::acosh, operand),
            Operation::Div(div) => Ok(Compiled::Div(one(&div.left)?, one(&div.right)?, div.by_zero_default)),
            Operation::Pow(pow) => Ok(Compiled::Pow(one(&pow.base)?, one(&pow.exponent)?)),
            Operation::GeoDistance(distance) => Ok(Compiled::GeoDistance(distance.origin, self.key(&distance.to)?)),
            Operation::Datetime(text) => match text.parse::<Datetime>() {
                Ok(moment) => Ok(Compiled::Constant(seconds(moment))),
                Err(_) => Err(FormulaError::Date(text.clone()).into()),
            },
            Operation::DatetimeKey(key) => self.key(key).map(Compiled::DatetimeKey),
            Operation::LinDecay(decay) => self.decay(decay, depth, "[0, 1]", |midpoint, scale| {
                Shape::Linear((1.0 - midpoint) / scale)
            }),
            Operation::ExpDecay(decay) => self.decay(decay, depth, "(0, 1)", |midpoint, scale| {
                Shape::Exponential(midpoint.ln() / scale)
            }),
            Operation::GaussDecay(decay) => self.decay(decay, depth, "(0, 1)", |midpoint, scale| {
                Shape::Gauss(midpoint.ln() / (scale * scale))
            }),
        }
    }

    fn decay(
        &self,
        decay: &Decay,
        depth: usize,
        accepted: &'static str,
        shape: impl Fn(f64, f64) -> Shape,
    ) -> Result<Compiled, InvalidInput> {
        let (midpoint, scale) = (decay.midpoint.unwrap_or(0.5), decay.scale.unwrap_or(1.0));
        let closed = accepted.starts_with('[');
        if !(0.0..=1.0).contains(&midpoint) || !closed && (midpoint == 0.0 || midpoint == 1.0) {
            return Err(FormulaError::Decay {
                parameter: "midpoint",
                received: midpoint,
                accepted,
            }
            .into());
        }
        if scale.is_nan() || scale <= 0.0 {
            return Err(FormulaError::Decay {
                parameter: "scale",
                received: scale,
                accepted: "(0, ∞)",
            }
            .into());
        }
        let x = self.expression(&decay.x, depth)?;
        let target = match &decay.target {
            Some(target) => self.expression(target, depth)?,
            None => Compiled::Constant(0.0),
        };
        Ok(Compiled::Decay(Box::new(x), Box::new(target), shape(midpoint, scale)))
    }

    fn key(&self, name: &str) -> Result<Key, InvalidInput> {
        Ok(Key {
            name: name.to_owned(),
            path: PayloadPath::parse(name)?,
            default: self.defaults.get(name).cloned(),
        })
    }

    /// What stands for the score of a prefetch: 0, where the defaults do not say.
    fn score_default(&self, number: usize) -> Result<f64, InvalidInput> {
        for (name, value) in self.defaults {
            if score_number(name)? == Some(number) {
                return value.as_f64().ok_or_else(|| {
                    FormulaError::Kind {
                        key: name.clone(),
                        expected: "a number",
                    }
                    .into()
                });
            }
        }
        Ok(0.0)
    }
}

/// The number of the prefetch in `$score` or `$score[1]`; none of a payload key.
fn score_number(name: &str) -> Result<Option<usize>, FormulaError> {
    let Some(rest) = name.strip_prefix("$score") else {
        return Ok(None);
    };
    if rest.is_empty() {
        return Ok(Some(0));
    }
    let number = rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let number = number.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let number = number.and_then(|digits| digits.parse().ok());
    number.map(Some).ok_or_else(|| FormulaError::Variable(name.to_owned()))
}

fn seconds(moment: Datetime) -> f64 {
    moment.microseconds() as f64 / 1e6
}

fn finite(value: f64, expression: impl FnOnce() -> String) -> Result<f64, FormulaError> {
    match value.is_finite() {
        true => Ok(value),
        false => Err(FormulaError::NonFinite(expression())),
    }
}

impl Key {
    /// The value of a point: the only one at the key, or what stands for it.
    fn value<'a>(&'a self, payload: &'a Payload) -> Result<&'a Value, FormulaError> {
        let mut values = self.path.elements(payload);
        match (values.next(), values.next()) {
            (Some(value), None) => Ok(value),
            (Some(_), Some(_)) => Err(self.not("a single value")),
            (None, _) => match &self.default {
                Some(Value::Array(values)) if values.len() == 1 => Ok(&values[0]),
                Some(Value::Array(values)) if values.is_empty() => Err(FormulaError::Missing(self.name.clone())),
                Some(value) => Ok(value),
                None => Err(FormulaError::Missing(self.name.clone())),
            },
        }
    }

    fn not(&self, expected: &'static str) -> FormulaError {
        FormulaError::Kind {
            key: self.name.clone(),
            expected,
        }
    }
}

impl Compiled {
    fn compute(&self, point: &Point<'_>) -> Result<f64, FormulaError> {
        match self {
            Self::Constant(number) => Ok(*number),
            Self::Score(number, default) => {
                let score = point.scores.get(*number).copied().flatten();
                Ok(score.map_or(*default, f64::from))
            }
            Self::Key(key) => {
                let value = key.value(point.subject.payload)?;
                value.as_f64().ok_or_else(|| key.not("a number"))
            }
            Self::Condition(condition) => Ok(f64::from(u8::from(condition.matches(point.subject)))),
            Self::Mult(factors) => {
                let mut product = 1.0;
                for factor in factors {
                    // What follows a zero is not computed, so it may be undefined.
                    match factor.compute(point)? {
                        0.0 => return Ok(0.0),
                        factor => product *= factor,
                    }
                }
                Ok(product)
            }
            Self::Sum(terms) => terms.iter().map(|term| term.compute(point)).sum(),
            Self::Max(operands) => fold(operands, point, f64::NEG_INFINITY, f64::max),
            Self::Min(operands) => fold(operands, point, f64::INFINITY, f64::min),
            Self::Div(left, right, by_zero) => {
                let left = left.compute(point)?;
                if left == 0.0 {
                    return Ok(left);
                }
                match (right.compute(point)?, by_zero) {
                    (0.0, Some(default)) => Ok(*default),
                    (right, _) => finite(left / right, || format!("{left}/{right}")),
                }
            }
            Self::Pow(base, exponent) => {
                let (base, exponent) = (base.compute(point)?, exponent.compute(point)?);
                finite(base.powf(exponent), || format!("{base}^{exponent}"))
            }
            Self::Function(name, function, operand) => {
                let operand = operand.compute(point)?;
                finite(function(operand), || format!("{name}({operand})"))
            }
            Self::GeoDistance(origin, key) => {
                let place = GeoPoint::of(key.value(point.subject.payload)?);
                Ok(origin.distance(place.ok_or_else(|| key.not("a place with `lon` and `lat`"))?))
            }
            Self::DatetimeKey(key) => {
                let moment = key
                    .value(point.subject.payload)?
                    .as_str()
                    .and_then(|text| text.parse().ok());
                moment.map(seconds).ok_or_else(|| key.not("a date"))
            }
            Self::Decay(x, target, shape) => {
                let distance = x.compute(point)? - target.compute(point)?;
                Ok(match shape {
                    Shape::Linear(slope) => (1.0 - slope * distance.abs()).max(0.0),
                    Shape::Exponential(rate) => (rate * distance.abs()).exp(),
                    Shape::Gauss(rate) => (rate * distance * distance).exp(),
                })
            }
        }
    }
}

fn fold(
    operands: &[Compiled],
    point: &Point<'_>,
    first: f64,
    better: fn(f64, f64) -> f64,
) -> Result<f64, FormulaError> {
    operands
        .iter()
        .try_fold(first, |best, operand| Ok(better(best, operand.compute(point)?)))
}
