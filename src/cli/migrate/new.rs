//! `stepback migrate new`.

use std::path::PathBuf;

use stepback_core::catalog::Catalog;
use stepback_core::model::Engine;
use stepback_core::report::Kind;

use crate::cli::Exit;
use crate::cli::explain::CliError;
use crate::cli::ground::{SchemaArgs, folder_alone};
use crate::cli::options::Options;
use crate::cli::terminal::Terminal;
use crate::load;

/// Write an empty pair of scripts, up and down
///
/// The version is the time in UTC, or the next number where the folder counts.
/// Neither is forgotten: a folder with an empty up script is refused whole, `up`
/// warns of an empty down, and every way back refuses it.
///
/// Examples:
///   stepback migrate new add_customer
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(in crate::cli) struct Args {
    /// What it does, in a few words
    #[arg(required = true, value_name = "NAME")]
    name: Vec<String>,
    /// The migrations folder, instead of the app file's [default without an app file: migrations]
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

pub(super) fn run(options: &Options, terminal: &Terminal, args: &Args) -> anyhow::Result<Exit> {
    let schema = SchemaArgs {
        dir: args.dir.clone(),
        ..SchemaArgs::default()
    };
    let mut folder = folder_alone(options, &schema)?;
    folder.must_exist = false;
    // Names and versions are the same on every engine.
    let catalog = load::read_catalog(&folder, Engine::Sqlite, None)?;
    let version = next_version(&catalog, jiff::Timestamp::now())?;
    let name = snake(&args.name.join(" "))?;
    let mut written = Vec::new();
    for (direction, does) in [("up", "applies"), ("down", "undoes")] {
        let path = folder.path.join(format!("{version}_{name}.{direction}.sql"));
        load::write_new(&path, &format!("-- What {does} {}.\n", name.replace('_', " ")))?;
        written.push(path);
    }
    let list = serde_json::json!({ "items": written });
    terminal.answer(Kind::File, &list, |page| {
        written
            .iter()
            .try_for_each(|path| page.line(&path.display().to_string()))
    })?;
    Ok(Exit::Done)
}

/// The time, or the next number in the same width where the folder counts.
fn next_version(catalog: &Catalog, now: jiff::Timestamp) -> Result<String, CliError> {
    let time = now.strftime("%Y%m%d%H%M%S").to_string();
    let Some(newest) = catalog.newest() else {
        return Ok(time);
    };
    let newest = newest.version.as_str();
    match newest.parse::<u64>() {
        Ok(number) if newest.len() < 8 => Ok(format!("{:0width$}", number + 1, width = newest.len())),
        Ok(number) if time.parse::<u64>().is_ok_and(|time| time > number) => Ok(time),
        _ => Err(CliError::Usage {
            message: format!("the newest migration has version {newest}, and what comes after it cannot be guessed"),
            hint: "write the two files yourself: VERSION_name.up.sql and VERSION_name.down.sql".to_owned(),
        }),
    }
}

fn snake(text: &str) -> Result<String, CliError> {
    let words: Vec<String> = text
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    if words.is_empty() {
        return Err(CliError::Usage {
            message: "the name has no letter and no digit".to_owned(),
            hint: "say what the migration does: stepback migrate new add_customer".to_owned(),
        });
    }
    Ok(words.join("_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog(name: &str) -> Catalog {
        let file = (format!("{name}_a.up.sql"), b"CREATE TABLE a (id integer);".to_vec());
        Catalog::read(&[file], Engine::Sqlite).unwrap()
    }

    #[test]
    fn the_next_version_follows_the_folder() {
        let now: jiff::Timestamp = "2026-03-04T05:06:07Z".parse().unwrap();
        assert_eq!(next_version(&Catalog::default(), now).unwrap(), "20260304050607");
        assert_eq!(next_version(&catalog("0009"), now).unwrap(), "0010");
        assert_eq!(next_version(&catalog("20240101090000"), now).unwrap(), "20260304050607");
        assert!(next_version(&catalog("20990101090000"), now).is_err());
        assert!(next_version(&catalog("123456789012345678901234"), now).is_err());
    }

    #[test]
    fn names_become_file_names() {
        assert_eq!(snake("Add customer's e-mail").unwrap(), "add_customer_s_e_mail");
        assert!(snake("../..").is_err());
    }
}
