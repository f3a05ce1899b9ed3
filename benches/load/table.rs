//! What a run shows and stores: rows on standard output, and every observation as a line of CSV.

use std::fs;
use std::io::Write;
use std::path::Path;

use crate::Outcome;

/// What is measured, in which unit.
#[derive(Clone, Copy)]
pub struct Measure(pub &'static str, pub &'static str);

/// How much was on the server: "64 connections".
#[derive(Clone, Copy)]
pub struct Load(pub u32, pub &'static str);

/// The observations of a measure, one a round.
pub struct Row {
    pub measure: Measure,
    pub load: Option<Load>,
    pub tokenecho: Vec<f64>,
    /// Of the bare server, in the same rounds. Empty if there is nothing to compare with.
    pub bare: Vec<f64>,
    /// Whether their ratio means something: not of what may be zero.
    pub has_ratio: bool,
}

pub struct Table(Vec<Row>);

impl Table {
    /// Shows the head.
    pub fn new() -> Outcome<Self> {
        let head = format!(
            "{:<32} {:>18} {:>12} {:>12}  {:<11} {:>6}  {}",
            "row", "load", "tokenecho", "bare", "unit", "ratio", "spread"
        );
        writeln!(std::io::stdout(), "{head}")?;
        Ok(Self(Vec::new()))
    }

    /// Adds rows and shows them.
    pub fn extend(&mut self, rows: impl IntoIterator<Item = Row>) -> Outcome<()> {
        for row in rows {
            writeln!(std::io::stdout(), "{}", row.line())?;
            self.0.push(row);
        }
        Ok(())
    }

    /// Writes all observations to `path`.
    pub fn save(&self, path: &Path) -> Outcome<()> {
        let mut csv = vec!["measure,unit,load,of,server,round,value".to_owned()];
        csv.extend(self.0.iter().flat_map(Row::observations));
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, csv.join("\n") + "\n")?;
        writeln!(std::io::stdout(), "\nall observations: {}", path.display())?;
        Ok(())
    }
}

impl Row {
    /// Its lines of CSV.
    fn observations(&self) -> impl Iterator<Item = String> {
        let Measure(measure, unit) = self.measure;
        let load = self.load.map_or(",".into(), |Load(count, of)| format!("{count},{of}"));
        let lines = move |server: &'static str, values: &[f64]| {
            let line = |(index, value)| format!("{measure},{unit},{load},{server},{},{value:.4}", index + 1);
            values.iter().enumerate().map(line).collect::<Vec<_>>()
        };
        [lines("tokenecho", &self.tokenecho), lines("bare", &self.bare)].into_iter().flatten()
    }

    /// Medians of the rounds, and the least and greatest ratio.
    fn line(&self) -> String {
        let Measure(measure, unit) = self.measure;
        let load = self.load.map(|Load(count, of)| format!("{count} {of}")).unwrap_or_default();
        let ratios: Vec<f64> =
            self.tokenecho.iter().zip(&self.bare).map(|(tokenecho, bare)| tokenecho / bare).collect();
        let ratios = if self.has_ratio { ratios } else { Vec::new() };
        let (least, greatest) = (quantile(&ratios, 0.0), quantile(&ratios, 1.0));
        let spread = match ratios.as_slice() {
            [] => String::new(),
            _ => format!("{}–{}", short(least), short(greatest)),
        };
        let [tokenecho, bare, ratio] =
            [&self.tokenecho, &self.bare, &ratios].map(|values| short(median(values)));
        format!("{measure:<32} {load:>18} {tokenecho:>12} {bare:>12}  {unit:<11} {ratio:>6}  {spread}")
    }
}

/// With as many digits as mean something; a dash for what was not measured, or divided by nothing.
fn short(value: f64) -> String {
    match value {
        _ if !value.is_finite() => "–".into(),
        _ if value.abs() >= 100.0 => format!("{value:.0}"),
        _ if value.abs() >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The middle value, or the mean of both; NaN without any.
fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    f64::midpoint(at(values.len().saturating_sub(1) / 2), at(values.len() / 2))
}

/// The value below which that share of the values lies; NaN without any.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    quantile_of_sorted(&values, share)
}

/// The same, of values that are in order.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index into a vector, far below 2^52 and not negative"
)]
pub fn quantile_of_sorted(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let index = (last as f64 * share).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}
