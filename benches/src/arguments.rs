//! The command line.

use std::path::PathBuf;

pub(crate) const USAGE: &str = "\
usage: crossmist-benches [--smoke] [--rounds N] [--filter TEXT] [--seed N]
                         [--json FILE] [--svg FILE] [--markdown FILE] [--list]

  --smoke          run every row a few times on small sizes: does it work, not how fast
  --rounds N       how often each row gets its turn (default 60)
  --filter TEXT    only rows whose `family / group / row` contains TEXT (and their floors)
  --seed N         the order of the turns (default: from the clock; printed)
  --json FILE      write all figures
  --svg FILE       draw the headline groups
  --markdown FILE  write the table as Markdown
  --list           name the rows and stop";

#[derive(Debug, Default)]
pub(crate) struct Arguments {
    pub(crate) smoke: bool,
    pub(crate) list: bool,
    pub(crate) rounds: usize,
    pub(crate) filter: String,
    pub(crate) seed: Option<u64>,
    pub(crate) json: Option<PathBuf>,
    pub(crate) svg: Option<PathBuf>,
    pub(crate) markdown: Option<PathBuf>,
}

impl Arguments {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut parsed = Self {
            rounds: 60,
            ..Self::default()
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} wants a value"));
            match word.as_str() {
                "--smoke" => parsed.smoke = true,
                "--list" => parsed.list = true,
                "--rounds" => parsed.rounds = number(&value()?)?,
                "--seed" => parsed.seed = Some(number(&value()?)?),
                "--filter" => parsed.filter = value()?,
                "--json" => parsed.json = Some(value()?.into()),
                "--svg" => parsed.svg = Some(value()?.into()),
                "--markdown" => parsed.markdown = Some(value()?.into()),
                _ => return Err(format!("{word} is not an option")),
            }
        }
        if parsed.smoke {
            parsed.rounds = 2;
        }
        if parsed.rounds == 0 {
            return Err("--rounds must be at least 1".into());
        }
        Ok(parsed)
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text} is not a number"))
}
