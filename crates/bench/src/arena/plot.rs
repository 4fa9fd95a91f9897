//! A plot of commit times as an SVG: both axes logarithmic, a line for each contestant. No library: it is a
//! hundred lines of text.

use std::fmt::Write;

use super::CommitPoint;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 120.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;
/// From one name to the next.
const LABEL: f64 = 14.0;
/// Dark enough on white, and told apart by those who see fewer colours; the names stand beside the lines too.
const COLOURS: [&str; 6] = ["#d55e00", "#555555", "#999999", "#0072b2", "#009e73", "#cc79a7"];

/// Draws what `bench` measured of commits: the text of an SVG.
pub(super) fn commit_plot(points: &[CommitPoint]) -> String {
    let pages = points.iter().map(|point| point.pages as f64);
    let times = points.iter().map(|point| point.median);
    let (first, last) = (1.0_f64, pages.fold(2.0, f64::max));
    let (low, high) = times.fold((f64::MAX, 1.0_f64), |(low, high), time| (low.min(time), high.max(time)));
    let (low, high) = (10_f64.powf(low.max(1.0).log10().floor()), 10_f64.powf(high.log10().ceil()));
    let x = |pages: f64| LEFT + (pages / first).ln() / (last / first).ln() * (WIDTH - LEFT - RIGHT);
    let y = |time: f64| {
        HEIGHT - BOTTOM - (time.max(low) / low).ln() / (high / low).ln() * (HEIGHT - TOP - BOTTOM)
    };
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">
<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>
<text x="{LEFT}" y="24" font-size="15">Median time of a durable commit against the pages it changes</text>
"##
    );
    let mut line = |text: std::fmt::Arguments<'_>| {
        // Writing to a string does not fail.
        let _written = writeln!(svg, "{text}");
    };
    let mut time = low;
    while time <= high * 1.01 {
        let at = y(time);
        let text = if time < 1000.0 { format!("{time:.0} us") } else { format!("{:.0} ms", time / 1000.0) };
        line(format_args!(
            r##"<path d="M{LEFT} {at:.1}H{:.1}" stroke="#dddddd"/><text x="{:.1}" y="{:.1}" text-anchor="end">{text}</text>"##,
            WIDTH - RIGHT,
            LEFT - 8.0,
            at + 4.0
        ));
        time *= 10.0;
    }
    let mut counts: Vec<usize> = points.iter().map(|point| point.pages).collect();
    counts.dedup();
    for count in counts {
        line(format_args!(
            r#"<text x="{:.1}" y="{:.1}" text-anchor="middle">{count}</text>"#,
            x(count as f64),
            HEIGHT - BOTTOM + 20.0
        ));
    }
    line(format_args!(
        r#"<text x="{:.1}" y="{:.1}" text-anchor="middle">pages of 4 KiB</text>"#,
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 10.0
    ));
    let mut names: Vec<&str> = Vec::new();
    for point in points {
        if !names.contains(&point.contestant.as_str()) {
            names.push(&point.contestant);
        }
    }
    let mut labels = Vec::new();
    for (name, colour) in names.into_iter().zip(COLOURS.iter().cycle()) {
        let own: Vec<(f64, f64)> = points
            .iter()
            .filter(|point| point.contestant == name)
            .map(|point| (x(point.pages as f64), y(point.median)))
            .collect();
        let path: Vec<String> = own.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
        line(format_args!(
            r#"<path d="M{}" fill="none" stroke="{colour}" stroke-width="2"/>"#,
            path.join("L")
        ));
        if let Some((x, y)) = own.last() {
            labels.push((*y, *x, name, colour));
        }
    }
    // Names stand beside the ends of their lines, and below each other where those meet.
    labels.sort_unstable_by(|(one, ..), (other, ..)| one.total_cmp(other));
    let mut free = f64::MIN;
    for (end, x, name, colour) in labels {
        let y = end.max(free);
        free = y + LABEL;
        line(format_args!(r#"<text x="{:.1}" y="{:.1}" fill="{colour}">{name}</text>"#, x + 8.0, y + 4.0));
    }
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_contestant_has_a_line() {
        let point = |pages, contestant: &str, median| CommitPoint {
            pages,
            contestant: contestant.to_owned(),
            median,
        };
        let svg =
            commit_plot(&[point(1, "ours", 120.0), point(16, "ours", 180.0), point(1, "theirs", 3000.0)]);
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
        assert!(svg.contains(">ours</text>") && svg.contains(">theirs</text>"));
        assert!(!svg.contains("NaN"));
    }
}
