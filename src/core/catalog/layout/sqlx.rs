//! sqlx's layout: `VERSION_description.up.sql` with `VERSION_description.down.sql`, or `VERSION_description.sql` alone.
//!
//! The rules are those of `sqlx_core::migrate::source` 0.9: what has no `_` or does not end in `.sql` is passed over, what
//! stands before the first `_` must be a number of 64 bits. What sqlx allows and a server does not (two ups of one
//! version) is an error here. An empty up is allowed, as it is there.

use std::collections::BTreeMap;

use super::read_script;
use crate::catalog::{CatalogError, CatalogErrors, Migration, Script};
use crate::model::Version;

/// What a file's name says.
struct Named<'a> {
    file: &'a str,
    bytes: &'a [u8],
    version: Version,
    name: String,
    is_down: bool,
}

pub(in crate::catalog) fn read(files: &[(String, Vec<u8>)]) -> Result<Vec<Migration>, CatalogErrors> {
    let mut errors = Vec::new();
    let mut sorted: Vec<_> = files.iter().collect();
    sorted.sort();
    let mut ups: BTreeMap<Version, Named<'_>> = BTreeMap::new();
    let mut downs: BTreeMap<Version, Named<'_>> = BTreeMap::new();
    for (file, bytes) in sorted {
        let named = match parse_name(file, bytes) {
            Ok(Some(named)) => named,
            Ok(None) => continue,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        let taken = if named.is_down { &mut downs } else { &mut ups };
        match taken.get(&named.version) {
            Some(other) => errors.push(CatalogError::DuplicateVersion {
                file: named.file.to_owned(),
                other: other.file.to_owned(),
                version: named.version,
            }),
            None => drop(taken.insert(named.version.clone(), named)),
        }
    }
    let without_up = downs.values().filter(|down| !ups.contains_key(&down.version));
    errors.extend(without_up.map(|down| CatalogError::DownWithoutUp {
        file: down.file.to_owned(),
        version: down.version.clone(),
    }));
    let mut migrations = Vec::new();
    for (version, up) in ups {
        let mut script = |named: &Named<'_>| -> Option<Script> {
            let read = read_script(named.file, named.bytes);
            read.map_err(|error| errors.push(error)).ok()
        };
        let down = downs.get(&version).and_then(&mut script);
        let Some(up_script) = script(&up) else { continue };
        migrations.push(Migration {
            version,
            name: up.name,
            up: up_script,
            down,
        });
    }
    errors.sort_by(|a, b| a.file().cmp(b.file()));
    CatalogErrors::collect(errors).map(|()| migrations)
}

fn parse_name<'a>(file: &'a str, bytes: &'a [u8]) -> Result<Option<Named<'a>>, CatalogError> {
    let unreadable = |why| CatalogError::UnreadableForSqlx {
        file: file.to_owned(),
        why,
    };
    let Some((version, rest)) = file.split_once('_').filter(|(_, rest)| rest.ends_with(".sql")) else {
        return Ok(None);
    };
    let number: i64 = version
        .parse()
        .map_err(|_| unreadable("what stands before the first `_` is no number of 64 bits"))?;
    // sqlx reads a sign too; a version with one is nobody's intention, and no ledger of ours can hold it.
    let version = Version::parse(version).map_err(|_| unreadable("its version has a sign"))?;
    if number == 0 {
        return Err(CatalogError::VersionZero { file: file.to_owned() });
    }
    let suffix = [".up.sql", ".down.sql"]
        .into_iter()
        .find(|suffix| rest.ends_with(suffix));
    Ok(Some(Named {
        file,
        bytes,
        version,
        name: rest.trim_end_matches(suffix.unwrap_or(".sql")).to_owned(),
        is_down: suffix == Some(".down.sql"),
    }))
}

#[cfg(test)]
mod tests {
    use crate::catalog::{Catalog, Layout, Migration};
    use crate::model::Engine;

    fn files(names: &[&str]) -> Vec<(String, Vec<u8>)> {
        let file = |name: &&str| ((*name).to_owned(), b"SELECT 1".to_vec());
        names.iter().map(file).collect()
    }

    fn read(names: &[&str]) -> Result<Vec<String>, Vec<String>> {
        match Catalog::read_as(&files(names), Engine::Sqlite, Some(Layout::Sqlx)) {
            Ok(catalog) => Ok(catalog.migrations().iter().map(Migration::label).collect()),
            Err(errors) => Err(errors.errors().iter().map(ToString::to_string).collect()),
        }
    }

    #[test]
    fn reads_what_sqlx_reads() {
        let labels = read(&[
            "20240101090000_create_orders.up.sql",
            "20240101090000_create_orders.down.sql",
            "0002_simple one.sql",
            "3_v1.5 of it.sql",
            "schema.sql",
            "README_x.md",
        ]);
        assert_eq!(
            labels.unwrap(),
            ["0002_simple one", "3_v1.5 of it", "20240101090000_create_orders"]
        );
        // The name of a down is not compared, and neither is how its version is spelled.
        assert_eq!(read(&["1_a.up.sql", "01_b.down.sql"]).unwrap(), ["1_a"]);
    }

    #[test]
    fn says_what_sqlx_would_stop_at() {
        for (names, said) in [
            (&["add_customer.sql"][..], "no number"),
            (&["99999999999999999999_a.sql"], "no number"),
            (&["+1_a.sql"], "sign"),
            (&["0_a.sql"], "version 0"),
            (&["1_a.sql", "1_b.up.sql"], "taken by"),
            (&["1_a.down.sql"], "no up script"),
        ] {
            let errors = read(names).unwrap_err();
            assert!(errors.len() == 1 && errors[0].contains(said), "{names:?}: {errors:?}");
        }
    }

    #[test]
    fn only_files_that_are_nobody_elses_tell_the_layout() {
        for (names, layout) in [
            (&["1_a.sql", "2_b.sql"][..], Layout::Sqlx),
            (&["1_a.up.sql", "1_a.down.sql"], Layout::Stepback),
            (&["1_a.sql", "2_b.up.sql"], Layout::Stepback),
            (&["1_a.sql", "schema.sql"], Layout::Stepback),
            (&[], Layout::Stepback),
        ] {
            assert_eq!(Layout::tell(&files(names)), Ok(layout), "{names:?}");
        }
        for (text, tool) in [("-- migrate:up\n", "dbmate"), ("-- +goose Up\nSELECT 1", "goose")] {
            let error = Layout::tell(&[("1_a.sql".to_owned(), text.as_bytes().to_vec())]).unwrap_err();
            assert!(error.to_string().contains(tool), "{error}");
        }
    }
}
