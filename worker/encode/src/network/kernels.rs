//! The arithmetic on rows of f32. Written so that every loop can become vector instructions: no calls, no branches, sums
//! over [`LANES`] accumulators.

const LANES: usize = 16;

pub(super) fn add(row: &mut [f32], other: &[f32]) {
    for (x, y) in row.iter_mut().zip(other) {
        *x += y;
    }
}

pub(super) fn multiply(row: &mut [f32], other: &[f32]) {
    for (x, y) in row.iter_mut().zip(other) {
        *x *= y;
    }
}

/// `scale * row + other`.
pub(super) fn scale_add(row: &mut [f32], scale: f32, other: &[f32]) {
    for (x, y) in row.iter_mut().zip(other) {
        *x = *x * scale + y;
    }
}

/// Turns the pairs (head[i], head[i + half]) by the angles whose cosines and sines are given, `half` of each.
pub(super) fn rotate(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (first, second) = head.split_at_mut(cos.len());
    for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
        (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
    }
}

/// x Φ(x), Φ the normal distribution's cumulative function.
pub(super) fn gelu(row: &mut [f32]) {
    for x in row {
        *x = 0.5 * *x * (1.0 + erf(*x * std::f32::consts::FRAC_1_SQRT_2));
    }
}

/// GELU by Hendrycks and Gimpel's tanh formula (arXiv:1606.08415), as tanh(u) = 1 - 2 / (1 + e^2u).
pub(super) fn gelu_tanh(row: &mut [f32]) {
    const SQRT_2_BY_PI: f32 = 0.797_884_6;
    for x in row {
        let u = SQRT_2_BY_PI * (*x + 0.044715 * *x * *x * *x);
        *x *= 1.0 - 1.0 / (1.0 + exp((2.0 * u).clamp(-87.0, 87.0)));
    }
}

pub(super) fn relu(row: &mut [f32]) {
    for x in row {
        *x = x.max(0.0);
    }
}

/// x / (1 + e^-x).
pub(super) fn silu(row: &mut [f32]) {
    for x in row {
        *x /= 1.0 + exp((-*x).clamp(-87.0, 87.0));
    }
}

/// tanh x, as 1 - 2 / (1 + e^2x).
pub(super) fn tanh(row: &mut [f32]) {
    for x in row {
        *x = 1.0 - 2.0 / (1.0 + exp((2.0 * *x).clamp(-87.0, 87.0)));
    }
}

/// Softmax of `scale * row`, `scale` positive.
pub(super) fn softmax(row: &mut [f32], scale: f32) {
    let max = reduce(row, f32::NEG_INFINITY, |a, b| if a > b { a } else { b });
    for x in row.iter_mut() {
        *x = exp((scale * (*x - max)).max(-87.0));
    }
    let inverse = 1.0 / reduce(row, 0.0, |a, b| a + b);
    for x in row {
        *x *= inverse;
    }
}

/// `(row - mean) / sqrt(variance + eps) * gamma + beta`.
pub(super) fn layer_norm(row: &mut [f32], gamma: &[f32], beta: &[f32], eps: f32) {
    let width = row.len() as f32;
    let mean = reduce(row, 0.0, |a, b| a + b) / width;
    for x in row.iter_mut() {
        *x -= mean;
    }
    let variance = squares(row) / width;
    let inverse = 1.0 / (variance + eps).sqrt();
    for ((x, gamma), beta) in row.iter_mut().zip(gamma).zip(beta) {
        *x = *x * inverse * gamma + beta;
    }
}

/// `row / sqrt(mean square + eps) * gamma`.
pub(super) fn rms_norm(row: &mut [f32], gamma: &[f32], eps: f32) {
    let inverse = 1.0 / (squares(row) / row.len() as f32 + eps).sqrt();
    for (x, gamma) in row.iter_mut().zip(gamma) {
        *x = *x * inverse * gamma;
    }
}

fn reduce(row: &[f32], start: f32, combine: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [start; LANES];
    let chunks = row.chunks_exact(LANES);
    let rest = chunks.remainder().iter().fold(start, |a, &b| combine(a, b));
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = combine(*lane, x);
        }
    }
    lanes.into_iter().fold(rest, combine)
}

fn squares(row: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let chunks = row.chunks_exact(LANES);
    let rest: f32 = chunks.remainder().iter().map(|x| x * x).sum();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += x * x;
        }
    }
    lanes.into_iter().fold(rest, |a, b| a + b)
}

/// e^x for x in -87..=87, to 2e-7 relative: 2^n times a polynomial on the rest, |r| <= ln(2)/2 (Cephes, `expf`).
#[inline(always)]
fn exp(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to an integer, which then is the lowest bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = 1.987_569_2e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 5e-1;
    let p = p * r * r + r + 1.0;
    p * f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23))
}

/// The error function to 5e-7 absolute: a rational function of odd degree on -4..=4, beyond which f32 knows only 1
/// (the coefficients of Eigen, `generic_fast_erf_float`).
#[inline(always)]
fn erf(x: f32) -> f32 {
    let x = x.clamp(-4.0, 4.0);
    let y = x * x;
    let p = -2.726_142_3e-10;
    let p = p * y + 2.770_681_4e-8;
    let p = p * y - 2.101_024_e-6;
    let p = p * y - 5.692_506_4e-5;
    let p = p * y - 7.349_906_3e-4;
    let p = p * y - 2.954_6e-3;
    let p = p * y - 1.609_603_3e-2;
    let q = -1.456_607_2e-5;
    let q = q * y - 2.133_740_6e-4;
    let q = q * y - 1.682_827e-3;
    let q = q * y - 7.373_329_2e-3;
    let q = q * y - 1.426_473_9e-2;
    x * p / q
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Tensor};

    fn grid(from: f32, to: f32) -> Vec<f32> {
        (0..=20_000).map(|i| from + (to - from) * i as f32 / 20_000.0).collect()
    }

    fn close(ours: &[f32], theirs: &Tensor, tolerance: f32) {
        for (i, (a, b)) in ours
            .iter()
            .zip(theirs.flatten_all().unwrap().to_vec1::<f32>().unwrap())
            .enumerate()
        {
            assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "{i}: {a} {b}");
        }
    }

    #[test]
    fn activations_equal_candles() {
        let xs = grid(-12.0, 12.0);
        let tensor = Tensor::new(&xs[..], &Device::Cpu).unwrap();
        let applied = |f: fn(&mut [f32])| {
            let mut xs = xs.clone();
            f(&mut xs);
            xs
        };
        close(&applied(gelu), &tensor.gelu_erf().unwrap(), 1e-6);
        close(&applied(gelu_tanh), &tensor.gelu().unwrap(), 1e-6);
        close(&applied(relu), &tensor.relu().unwrap(), 0.0);
        close(&applied(silu), &tensor.silu().unwrap(), 1e-6);
        close(&applied(tanh), &tensor.tanh().unwrap(), 1e-6);
    }

    #[test]
    fn exp_keeps_its_relative_error() {
        for x in grid(-87.0, 87.0) {
            let expected = f64::from(x).exp();
            assert!((f64::from(exp(x)) / expected - 1.0).abs() < 3e-7, "{x}");
        }
    }

    #[test]
    fn rows_of_any_width_equal_candles() {
        for width in [1, 5, 16, 33, 384] {
            let rows = Tensor::randn(1f32, 20f32, (3, width), &Device::Cpu).unwrap();
            let [gamma, beta] = [0.5f32, -2.0].map(|x| Tensor::randn(x, 1f32, width, &Device::Cpu).unwrap());
            let mut ours = rows.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            ours.chunks_exact_mut(width).for_each(|row| softmax(row, 0.3));
            close(
                &ours,
                &candle_nn::ops::softmax_last_dim(&(&rows * 0.3).unwrap()).unwrap(),
                1e-6,
            );

            let mut ours = rows.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let (g, b) = (gamma.to_vec1().unwrap(), beta.to_vec1().unwrap());
            ours.chunks_exact_mut(width)
                .for_each(|row| layer_norm(row, &g, &b, 1e-5));
            close(
                &ours,
                &candle_nn::ops::layer_norm_slow(&rows, &gamma, &beta, 1e-5).unwrap(),
                1e-4,
            );

            let mut ours = rows.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            ours.chunks_exact_mut(width).for_each(|row| rms_norm(row, &g, 1e-5));
            close(
                &ours,
                &candle_nn::ops::rms_norm_slow(&rows, &gamma, 1e-5).unwrap(),
                1e-5,
            );
        }
    }
}
