//! How fast a program was while nodes joined, as text and as a picture. Pure: numbers in, text out.

use crate::terminal::style;
use banyan_bench::grow::{Growth, Sample};
use std::fmt::Write;

/// Columns for the scale at the left.
const SCALE: usize = 8;

/// The mean speed in each of N equal parts of the time, and how many nodes there were; none where
/// nothing was measured.
fn parts(samples: &[Sample], count: usize) -> Vec<Option<(f64, u8)>> {
    let end = samples.last().map_or(0.0, |sample| sample.at.as_secs_f64());
    let mut sums = vec![(0.0, 0_u32, 0); count];
    for sample in samples {
        let part = (sample.at.as_secs_f64() / end * count as f64) as usize;
        let (sum, number, nodes) = &mut sums[part.min(count - 1)];
        (*sum, *number, *nodes) = (*sum + sample.rate, *number + 1, sample.nodes);
    }
    let mean =
        |&(sum, number, nodes): &(f64, u32, u8)| (number > 0).then(|| (sum / f64::from(number), nodes));
    sums.iter().map(mean).collect()
}

fn fastest(samples: &[Sample]) -> f64 {
    samples.iter().map(|sample| sample.rate).fold(f64::MIN_POSITIVE, f64::max)
}

/// The speed over time, N rows high, each column in the colour of its number of nodes; below it where
/// nodes joined.
pub(super) fn lines(growth: &Growth, columns: usize, rows: usize) -> String {
    let width = columns.saturating_sub(SCALE + 2).clamp(20, 100).min(growth.samples.len().max(1));
    let (parts, top) = (parts(&growth.samples, width), fastest(&growth.samples));
    let mut text = String::new();
    for row in (0..rows).rev() {
        let label = if row + 1 == rows { format!("{top:>SCALE$.0} ") } else { " ".repeat(SCALE + 1) };
        text.push_str(&label);
        for part in &parts {
            let (rate, nodes) = part.unwrap_or((0.0, 1));
            // Eighths of a row.
            let filled = (rate / top * (rows * 8) as f64).round() as usize;
            let eighths = filled.saturating_sub(row * 8).min(8);
            let block = [
                " ", "\u{2581}", "\u{2582}", "\u{2583}", "\u{2584}", "\u{2585}", "\u{2586}", "\u{2587}",
                "\u{2588}",
            ][eighths];
            text.push_str(&style::numbered(usize::from(nodes), block));
        }
        text.push('\n');
    }
    let _ = write!(text, "{:>SCALE$} ", "nodes");
    let mut before = 0;
    for part in &parts {
        match part {
            Some((_, nodes)) if *nodes != before => {
                text.push_str(&nodes.to_string());
                before = *nodes;
            }
            _ => text.push('\u{b7}'),
        }
    }
    text.push('\n');
    text
}

/// The same as a picture, with what each number of nodes would give if nothing were lost.
pub(super) fn svg(growth: &Growth) -> String {
    const WIDTH: f64 = 720.0;
    const HEIGHT: f64 = 320.0;
    const LEFT: f64 = 56.0;
    const BOTTOM: f64 = 40.0;
    let end = growth.samples.last().map_or(1.0, |sample| sample.at.as_secs_f64());
    let perfect = growth.rates[0] * growth.rates.len() as f64;
    let top = fastest(&growth.samples).max(perfect) * 1.05;
    let x = |at: f64| LEFT + at / end * (WIDTH - LEFT - 12.0);
    let y = |rate: f64| (HEIGHT - BOTTOM) - rate / top * (HEIGHT - BOTTOM - 16.0);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <title>Million steps a second while machines joined</title>\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
    );
    for (index, rate) in (1..=growth.rates.len()).map(|nodes| (nodes, growth.rates[0] * nodes as f64)) {
        let height = y(rate);
        let _ = writeln!(
            text,
            "<line x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{height:.1}\" y2=\"{height:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#555\">{index} x</text>",
            LEFT - 6.0,
            height + 4.0
        );
    }
    let mut before = 0;
    for sample in
        growth.samples.iter().filter(|sample| std::mem::replace(&mut before, sample.nodes) != sample.nodes)
    {
        let place = x(sample.at.as_secs_f64());
        let label = if sample.nodes == 1 { "1 node".into() } else { sample.nodes.to_string() };
        let _ = writeln!(
            text,
            "<line x1=\"{place:.1}\" x2=\"{place:.1}\" y1=\"16\" y2=\"{:.1}\" stroke=\"#bbb\" stroke-dasharray=\"3 3\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" fill=\"#555\">{label}</text>",
            HEIGHT - BOTTOM,
            place + 3.0,
            HEIGHT - BOTTOM + 16.0
        );
    }
    let points: Vec<String> = growth
        .samples
        .iter()
        .map(|sample| format!("{:.1},{:.1}", x(sample.at.as_secs_f64()), y(sample.rate)))
        .collect();
    let _ = writeln!(
        text,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"#0a7d5a\" stroke-width=\"2\"/>\n\
         <text x=\"{LEFT}\" y=\"{:.1}\" fill=\"#333\">speed beside one node, over {end:.0} s; dashed lines: a machine joins</text>\n</svg>",
        points.join(" "),
        HEIGHT - 6.0
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn growth() -> Growth {
        let sample = |second: u64| Sample {
            at: Duration::from_secs(second),
            nodes: 1 + (second / 5) as u8,
            rate: 10.0 * (1 + second / 5) as f64,
        };
        Growth { rates: vec![10.0, 20.0], samples: (1..10).map(sample).collect(), result: String::new() }
    }

    #[test]
    fn the_chart_rises_where_a_node_joined() {
        let text = anstream::adapter::strip_str(&lines(&growth(), 80, 2)).to_string();
        let rows: Vec<Vec<char>> = text.lines().map(|line| line.chars().skip(SCALE + 1).collect()).collect();
        let at = rows[2].iter().position(|&mark| mark == '2').unwrap();
        assert_eq!((rows[0][at], rows[1][at]), ('\u{2588}', '\u{2588}'));
        assert_eq!((rows[0][at - 1], rows[1][at - 1]), (' ', '\u{2588}'));
        assert!(text.lines().next().unwrap().starts_with("      20 "));
    }

    #[test]
    fn the_picture_has_a_line_for_each_join_and_a_point_for_each_sample() {
        let picture = svg(&growth());
        assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"));
        assert_eq!(picture.matches("stroke-dasharray").count(), 2);
        let points = picture.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!(points.split(' ').count(), 9);
    }
}
