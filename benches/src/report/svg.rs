//! The plot: for each headline group, how many times its floor the peers and crossmist cost.
//!
//! A bar starts at the floor (1 ×) and goes right for slower, left for faster, on a logarithmic
//! scale, so that twice as slow and twice as fast are equally long. The drawing brings its own
//! background: a transparent one would depend on the page agreeing with the reader's system.

use std::fmt::Write;

use super::machine::Machine;
use super::{kind, ratio, subject, title};
use crate::harness::{GroupResult, Kind, Results, RowResult};

const WIDTH: f64 = 860.0;
/// The end of the names of the rows, and the beginning of the bars' field.
const LEFT: f64 = 262.0;
const RIGHT: f64 = WIDTH - 76.0;
const BAR: f64 = 15.0;
const STEP: f64 = 20.0;

const STYLE: &str = "
  .page { fill: #ffffff; stroke: #d1d9e0; }
  text { font: 12px system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: #1f2328; }
  .title { font-size: 15px; font-weight: 600; }
  .family { font-size: 13px; font-weight: 600; }
  .quiet { fill: #59636e; }
  .grid { stroke: #e4e8ec; }
  .floor { stroke: #59636e; stroke-width: 1.5; }
  .target { stroke: #cf222e; stroke-width: 2; }
  .spread { stroke: #1f2328; stroke-opacity: 0.55; }
  .ours { fill: #1a7f37; }
  .peer { fill: #8fb4dd; }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117; stroke: #3d444d; }
    text { fill: #e6edf3; }
    .quiet { fill: #9198a1; }
    .grid { stroke: #262c34; }
    .floor { stroke: #9198a1; }
    .target { stroke: #ff7b72; }
    .spread { stroke: #e6edf3; }
    .ours { fill: #3fb950; }
    .peer { fill: #4470a5; }
  }";

pub(crate) fn svg(results: &Results) -> String {
    let groups: Vec<&GroupResult> = results
        .groups
        .iter()
        .filter(|group| group.headline && bars(group).next().is_some())
        .collect();
    let scale = Scale::over(&groups);

    let mut body = String::new();
    let top = 78.0;
    let mut y = top;
    let mut family = "";
    for group in groups {
        if group.family != family {
            family = group.family;
            y += 22.0;
            text(&mut body, 16.0, y, "family", &capitalised(family));
            y += 4.0;
        }
        y = draw_group(&mut body, group, &scale, y + 16.0) + 4.0;
    }
    let bottom = y + 6.0;
    let height = bottom + 40.0;

    let mut out = String::new();
    let _ = writeln!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">"#
    );
    let _ = writeln!(out, "<title>{HEADLINE}</title>\n<style>{STYLE}\n</style>");
    let _ = writeln!(
        out,
        r#"<rect class="page" x="0.5" y="0.5" width="{}" height="{}" rx="6"/>"#,
        WIDTH - 1.0,
        height - 1.0
    );
    text(&mut out, 16.0, 28.0, "title", HEADLINE);
    legend(&mut out, 50.0);
    grid(&mut out, &scale, top, bottom);
    out.push_str(&body);
    line(&mut out, "floor", scale.x(1.0), top, bottom);
    text(&mut out, 16.0, bottom + 26.0, "quiet", &footer(results));
    out.push_str("</svg>\n");
    out
}

const HEADLINE: &str = "Cost as a multiple of raw system calls (or of a plain copy)";

/// The rows that are drawn: the floor is the line at 1 ×, and other raw ways are for the table.
fn bars(group: &GroupResult) -> impl Iterator<Item = (&RowResult, f64)> {
    let rows = group.rows.iter().skip(1);
    let rows = rows.filter(|row| row.kind != Kind::Raw);
    rows.filter_map(|row| Some((row, ratio(group, row)?)))
}

fn draw_group(out: &mut String, group: &GroupResult, scale: &Scale, top: f64) -> f64 {
    text(out, 16.0, top + 4.0, "quiet", &title(group));
    let first = top + 10.0;
    let mut y = first;
    for (row, ratio) in bars(group) {
        let (floor, end) = (scale.x(1.0), scale.x(ratio));
        let class = kind(row.kind);
        let name = escaped(&subject(row));
        let _ = writeln!(
            out,
            r#"<text x="{}" y="{}" text-anchor="end">{name}</text>"#,
            LEFT - 8.0,
            y + 12.0
        );
        let _ = writeln!(
            out,
            r#"<rect class="{class}" x="{:.1}" y="{y}" width="{:.1}" height="{BAR}" rx="2"/>"#,
            floor.min(end),
            (end - floor).abs().max(1.5)
        );
        let mut after = end.max(floor);
        if let (Ok(summary), Some(divisor)) = (&row.outcome, group.floor()) {
            let (low, high) = (
                scale.x(summary.p10 / divisor),
                scale.x(summary.p90 / divisor),
            );
            let _ = writeln!(
                out,
                r#"<path class="spread" d="M{low:.1} {0}H{high:.1}"/>"#,
                y + BAR / 2.0
            );
            after = after.max(high);
        }
        // Not across the target's line.
        if let Some(target) = group.target.map(|target| scale.x(target))
            && (after - 4.0..after + 48.0).contains(&target)
        {
            after = target;
        }
        text(out, after + 6.0, y + 12.0, "", &format!("{ratio:.2} ×"));
        y += STEP;
    }
    if let Some(target) = group.target {
        line(out, "target", scale.x(target), first - 2.0, y - 3.0);
    }
    y
}

fn legend(out: &mut String, y: f64) {
    let entries = [("ours", "crossmist"), ("peer", "peer")];
    let mut x = 16.0;
    for (class, name) in entries {
        let _ = writeln!(
            out,
            r#"<rect class="{class}" x="{x}" y="{}" width="12" height="12" rx="2"/>"#,
            y - 10.0
        );
        text(out, x + 18.0, y, "", name);
        x += 34.0 + 7.0 * name.len() as f64;
    }
    for (class, name) in [("floor", "floor"), ("target", "target for crossmist")] {
        line(out, class, x + 4.0, y - 11.0, y + 3.0);
        text(out, x + 12.0, y, "", name);
        x += 30.0 + 7.0 * name.len() as f64;
    }
    let rest = "thin lines: p10 to p90; logarithmic scale";
    text(out, x, y, "quiet", rest);
}

fn grid(out: &mut String, scale: &Scale, top: f64, bottom: f64) {
    for tick in [0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0] {
        if tick < scale.least || tick > scale.most {
            continue;
        }
        let x = scale.x(tick);
        line(out, "grid", x, top, bottom);
        let _ = writeln!(
            out,
            r#"<text class="quiet" x="{x:.1}" y="{}" text-anchor="middle">{tick} ×</text>"#,
            top - 6.0
        );
    }
}

fn footer(results: &Results) -> String {
    let machine = Machine::here();
    let smoke = if results.smoke { "SMOKE RUN; " } else { "" };
    format!(
        "{smoke}{}, Linux {}; {}; medians of {} interleaved rounds",
        machine.processor, machine.kernel, results.cores, results.rounds
    )
}

struct Scale {
    least: f64,
    most: f64,
}

impl Scale {
    /// Whole powers of two around everything that is drawn.
    fn over(groups: &[&GroupResult]) -> Self {
        let mut scale = Self {
            least: 0.5,
            most: 2.0,
        };
        for group in groups {
            for (_, ratio) in bars(group) {
                scale.least = scale.least.min(ratio.log2().floor().exp2());
                scale.most = scale.most.max(ratio.log2().ceil().exp2());
            }
        }
        scale
    }

    fn x(&self, ratio: f64) -> f64 {
        let part = (ratio / self.least).log2() / (self.most / self.least).log2();
        LEFT + part.clamp(0.0, 1.0) * (RIGHT - LEFT)
    }
}

fn text(out: &mut String, x: f64, y: f64, class: &str, words: &str) {
    let words = escaped(words);
    let _ = writeln!(
        out,
        r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{words}</text>"#
    );
}

fn line(out: &mut String, class: &str, x: f64, top: f64, bottom: f64) {
    let _ = writeln!(
        out,
        r#"<path class="{class}" d="M{x:.1} {top:.1}V{bottom:.1}"/>"#
    );
}

fn escaped(words: &str) -> String {
    words
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn capitalised(words: &str) -> String {
    let mut characters = words.chars();
    characters.next().map_or(String::new(), |first| {
        first.to_uppercase().chain(characters).collect()
    })
}
