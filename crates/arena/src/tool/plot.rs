//! A plot of commit times as an SVG: both axes logarithmic, a line for each contestant. No library: it is
//! thirty lines of text.

use std::fmt::Write;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 120.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;
/// Dark enough on white, and told apart by those who see fewer colours; the names stand beside the lines too.
const COLOURS: [&str; 6] = ["#d55e00", "#555555", "#999999", "#0072b2", "#009e73", "#cc79a7"];

/// Points are pages in a commit, contestant, and median microseconds.
pub(super) fn commits(points: &[(usize, String, f64)]) -> String {
    let pages = points.iter().map(|(pages, ..)| *pages as f64);
    let times = points.iter().map(|(.., time)| *time);
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
    let mut counts: Vec<usize> = points.iter().map(|(pages, ..)| *pages).collect();
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
    let mut names: Vec<&String> = Vec::new();
    for (_, name, _) in points {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    for (name, colour) in names.into_iter().zip(COLOURS.iter().cycle()) {
        let own: Vec<(f64, f64)> = points
            .iter()
            .filter(|(_, other, _)| other == name)
            .map(|(pages, _, time)| (x(*pages as f64), y(*time)))
            .collect();
        let path: Vec<String> = own.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
        line(format_args!(
            r#"<path d="M{}" fill="none" stroke="{colour}" stroke-width="2"/>"#,
            path.join("L")
        ));
        if let Some((x, y)) = own.last() {
            line(format_args!(
                r#"<text x="{:.1}" y="{:.1}" fill="{colour}">{name}</text>"#,
                x + 8.0,
                y + 4.0
            ));
        }
    }
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_contestant_has_a_line() {
        let points =
            [(1, "ours".to_owned(), 120.0), (16, "ours".to_owned(), 180.0), (1, "theirs".to_owned(), 3000.0)];
        let svg = super::commits(&points);
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
        assert!(svg.contains(">ours</text>") && svg.contains(">theirs</text>"));
        assert!(!svg.contains("NaN"));
    }
}
