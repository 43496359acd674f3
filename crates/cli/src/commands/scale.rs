//! `dockless scale URL 0 | auto | N | MIN MAX`

use crate::{client::Name, context::Context, exit::Exit, exit::Failure, exit::Outcome};
use anyhow::{Context as _, anyhow};
use dockless_wire::{Auto, ScaleMax, ScaleRule, ScaleRules};

/// Which deployment, how far.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  dockless scale http://hello.localhost:3000 0
  dockless scale http://hello.localhost:3000 auto
  dockless scale http://hello.localhost:3000 1 5 --regions dev1")]
pub struct Args {
    /// Which deployment
    #[arg(value_name = "URL|ID", value_parser = Name::parse)]
    pub deployment: Name,
    /// 0 switches it off, auto is as many as needed, N is exactly so many, MIN MAX are bounds; regions may stand before
    #[arg(value_name = "SCALE", required = true)]
    pub words: Vec<String>,
    /// Only in these regions, or all
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub regions: Vec<String>,
}

/// Region to bounds, from words such as `1 5`, `auto`, `dev1 3`, `all`.
fn rules(words: &[String], regions: &[String]) -> Result<ScaleRules, String> {
    let is_amount = |word: &&String| *word == "auto" || word.bytes().all(|b| b.is_ascii_digit());
    let amounts = words.iter().position(|word| is_amount(&word)).unwrap_or(words.len());
    let (named, amounts) = words.split_at(amounts);
    let count = |text: &String| text.parse::<u32>().map_err(|_| format!("{text:?} is not a number of instances"));
    let auto = ScaleMax::Auto(Auto::Auto);
    let rule = match amounts {
        // A region alone, as the oldest clients say it.
        [] if !named.is_empty() => ScaleRule { min: 0, max: auto },
        [one] if one == "auto" => ScaleRule { min: 0, max: auto },
        [one] => ScaleRule { min: count(one)?, max: ScaleMax::Count(count(one)?) },
        [min, max] if max == "auto" => ScaleRule { min: count(min)?, max: auto },
        [min, max] => ScaleRule { min: count(min)?, max: ScaleMax::Count(count(max)?) },
        _ => return Err("expected 0, auto, N, or MIN MAX".to_owned()),
    };
    if let ScaleMax::Count(max) = rule.max
        && max < rule.min
    {
        return Err(format!("the least, {}, is more than the most, {max}", rule.min));
    }
    let mut regions: Vec<String> = named.iter().chain(regions).cloned().collect();
    if regions.is_empty() {
        regions.push("all".to_owned());
    }
    Ok(regions.into_iter().map(|region| (region, rule)).collect())
}

pub(crate) async fn run(args: &Args, ctx: &Context) -> Outcome {
    let rules = rules(&args.words, &args.regions).map_err(|text| {
        Failure::usage(anyhow!(text)).hint("for example: dockless scale URL 0, or dockless scale URL 1 5")
    })?;
    let client = ctx.client()?;
    let deployment = client.scale(&args.deployment, &rules).await?;
    if ctx.printer.is_json() {
        ctx.printer.json(&deployment).context("cannot print")?;
        return Ok(Exit::Done);
    }
    ctx.printer.answer(&format!("{}: {}", deployment.url, said(&deployment.scale))).context("cannot print")?;
    Ok(Exit::Done)
}

/// `off`, `auto`, `2`, `1 to 5`; with several regions each by its name.
pub(crate) fn said(rules: &ScaleRules) -> String {
    let one = |rule: &ScaleRule| match (rule.min, rule.max) {
        (_, ScaleMax::Count(0)) => "off".to_owned(),
        (0, ScaleMax::Auto(_)) => "auto".to_owned(),
        (min, ScaleMax::Auto(_)) => format!("{min} or more"),
        (min, ScaleMax::Count(max)) if min == max => max.to_string(),
        (min, ScaleMax::Count(max)) => format!("{min} to {max}"),
    };
    match rules.len() {
        0 => "auto".to_owned(),
        1 => rules.values().map(one).collect(),
        _ => rules.iter().map(|(region, rule)| format!("{region} {}", one(rule))).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_is_read_as_it_is_said() {
        for (words, regions, expected) in [
            ("0", "", "all off"),
            ("auto", "", "all auto"),
            ("3", "", "all 3"),
            ("1 5", "", "all 1 to 5"),
            ("1 auto", "", "all 1 or more"),
            ("dev1", "", "dev1 auto"),
            ("dev1 3", "", "dev1 3"),
            ("all 0", "", "all off"),
            ("2", "dev1", "dev1 2"),
        ] {
            let split = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            let rules = rules(&split(words), &split(regions)).unwrap();
            let (region, _) = rules.first_key_value().unwrap();
            assert_eq!(format!("{region} {}", said(&rules)), expected, "{words}");
        }
        for bad in ["5 1", "1 2 3", "1 x", "99999999999"] {
            let words: Vec<String> = bad.split(' ').map(str::to_owned).collect();
            assert!(rules(&words, &[]).is_err(), "{bad}");
        }
    }
}
