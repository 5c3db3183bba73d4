//! A report as a plot: how well each stage did, and below it how long it took.

use anyhow::Context;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use twofold_client::types::evaluation::Evaluation;

use super::table::{latencies, measures};

const SIZE: (u32, u32) = (960, 640);
/// How much wider than its bars a chart is, for the legend beside them.
const LEGEND: f64 = 1.16;
const COLOURS: [RGBColor; 6] = [
    RGBColor(31, 78, 121),
    RGBColor(77, 147, 189),
    RGBColor(150, 195, 220),
    RGBColor(120, 160, 90),
    RGBColor(180, 205, 140),
    RGBColor(205, 130, 60),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// What is drawn: bars in groups, each bar of a group in a colour of its own.
struct Bars {
    names: Vec<String>,
    groups: Vec<(String, Vec<f64>)>,
}

/// The plot as SVG.
pub(super) fn svg(evaluation: &Evaluation, collection: &str) -> anyhow::Result<String> {
    let mut svg = String::new();
    draw(&mut svg, evaluation, collection).context("cannot draw the plot")?;
    Ok(svg)
}

fn draw(svg: &mut String, evaluation: &Evaluation, collection: &str) -> anyhow::Result<()> {
    let stages = &evaluation.stages;
    let Some(first) = stages.first() else { return Ok(()) };
    let name = |stage: usize| stages[stage].stage.name.clone();
    let quality = Bars {
        names: measures(evaluation, first).into_iter().map(|(name, _)| name).collect(),
        groups: (0..stages.len())
            .map(|stage| {
                (
                    name(stage),
                    measures(evaluation, &stages[stage]).map(|(_, value)| value).to_vec(),
                )
            })
            .collect(),
    };
    let latency = Bars {
        names: latencies(first).map(|(name, _)| name.to_owned()).to_vec(),
        groups: (0..stages.len())
            .map(|stage| (name(stage), latencies(&stages[stage]).map(|(_, value)| value).to_vec()))
            .collect(),
    };
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (upper, lower) = root.split_vertically(SIZE.1 * 3 / 5);
    bars(
        &upper,
        &format!("{collection}: {} queries", evaluation.queries),
        &quality,
        "",
    )?;
    bars(&lower, "latency", &latency, " ms")?;
    root.present()?;
    Ok(())
}

fn bars(area: &Area<'_>, title: &str, bars: &Bars, unit: &str) -> anyhow::Result<()> {
    let largest = bars
        .groups
        .iter()
        .flat_map(|(_, values)| values)
        .copied()
        .fold(0.0, f64::max);
    let (groups, width) = (bars.groups.len() as f64, 0.84 / bars.names.len() as f64);
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(24)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..groups * LEGEND, 0.0..(largest * 1.15).max(1e-3))?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(0)
        .y_label_formatter(&|value| {
            format!("{value:.3}")
                .trim_end_matches('0')
                .trim_end_matches('.')
                .to_owned()
                + unit
        })
        .draw()?;
    let place = |group: usize, bar: usize| group as f64 + 0.08 + width * bar as f64;
    for (bar, name) in bars.names.iter().enumerate() {
        let colour = COLOURS[bar % COLOURS.len()];
        let rectangles = bars.groups.iter().enumerate().map(|(group, (_, values))| {
            let left = place(group, bar);
            Rectangle::new([(left, 0.0), (left + width * 0.9, values[bar])], colour.filled())
        });
        chart
            .draw_series(rectangles)?
            .label(name)
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 10, y + 5)], colour.filled()));
    }
    let style = |size: i32, vertical| {
        let font = ("sans-serif", size).into_text_style(area);
        font.pos(Pos::new(HPos::Center, vertical))
    };
    for (group, (name, values)) in bars.groups.iter().enumerate() {
        for (bar, value) in values.iter().enumerate() {
            let digits = if *value < 10.0 && unit.is_empty() { 3 } else { 1 };
            let label = format!("{value:.digits$}");
            let at = (place(group, bar) + width * 0.45, *value);
            chart.draw_series([Text::new(label, at, style(10, VPos::Bottom))])?;
        }
        let (x, y) = chart.backend_coord(&(group as f64 + 0.5, 0.0));
        let base = area.get_base_pixel();
        area.draw(&Text::new(
            name.clone(),
            (x - base.0, y - base.1 + 6),
            style(13, VPos::Top),
        ))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .border_style(TRANSPARENT)
        .draw()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use twofold_client::types::evaluation::{EvaluationStage, Latency, Metrics, StageReport};

    use super::*;

    #[test]
    fn a_plot_names_stages_and_measures_and_has_their_figures() {
        let stage = |vector: &str, ndcg| StageReport {
            stage: EvaluationStage::of_vector(vector),
            metrics: Metrics {
                ndcg,
                ..Metrics::default()
            },
            latency: Latency {
                p50: 12.5,
                p95: 14.0,
                p99: 17.0,
            },
            rankings: Vec::new(),
        };
        let evaluation = Evaluation {
            queries: 7,
            unjudged_queries: 0,
            k: 10,
            limit: 100,
            stages: vec![stage("words", 0.353), stage("<dense>", 0.421)],
        };
        let svg = svg(&evaluation, "nave").unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        for part in [
            "words",
            "&lt;dense&gt;",
            "nDCG@10",
            "Recall@100",
            "0.353",
            "0.421",
            "12.5",
            "nave: 7 queries",
        ] {
            assert!(svg.contains(part), "{part} is not in {svg}");
        }
    }
}
