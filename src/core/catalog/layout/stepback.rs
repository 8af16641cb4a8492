//! Our own layout: `VERSION_name.up.sql` and `VERSION_name.down.sql`, VERSION in digits, name free text without dots.
//!
//! `VERSION_name.ENGINE.up.sql` is for one engine and goes before the file without an engine; MariaDB takes MySQL's file
//! where it has none of its own. A version that only other engines have a file for does not exist for this one.

use std::collections::BTreeMap;

use super::read_script;
use crate::catalog::{CatalogError, CatalogErrors, Migration};
use crate::model::{Engine, Version};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Direction {
    Up,
    Down,
}

/// What a file's name says.
struct Named<'a> {
    file: &'a str,
    bytes: &'a [u8],
    version: Version,
    name: &'a str,
    engine: Option<Engine>,
    direction: Direction,
}

pub(in crate::catalog) fn read(files: &[(String, Vec<u8>)], engine: Engine) -> Result<Vec<Migration>, CatalogErrors> {
    let mut errors = Vec::new();
    let mut sorted: Vec<_> = files.iter().collect();
    sorted.sort();
    let named: Vec<_> = sorted
        .into_iter()
        .filter(|(file, _)| file.to_ascii_lowercase().ends_with(".sql"))
        .filter_map(|(file, bytes)| {
            parse_name(file, bytes)
                .map_err(|why| {
                    errors.push(CatalogError::UnreadableName {
                        file: file.clone(),
                        why,
                    })
                })
                .ok()
        })
        .collect();

    let mut ups: BTreeMap<Version, Named<'_>> = BTreeMap::new();
    let mut downs: BTreeMap<Version, Named<'_>> = BTreeMap::new();
    for file in named.into_iter().filter(|file| rank(file.engine, engine).is_some()) {
        if file.version.is_zero() {
            errors.push(CatalogError::VersionZero {
                file: file.file.to_owned(),
            });
            continue;
        }
        let taken = if file.direction == Direction::Up {
            &mut ups
        } else {
            &mut downs
        };
        let Some(other) = taken.get(&file.version) else {
            taken.insert(file.version.clone(), file);
            continue;
        };
        errors.extend(clash(&file, other));
        if rank(file.engine, engine) > rank(other.engine, engine) {
            taken.insert(file.version.clone(), file);
        }
    }
    for (version, down) in &downs {
        let file = down.file.to_owned();
        match ups.get(version) {
            None => errors.push(CatalogError::DownWithoutUp {
                file,
                version: version.clone(),
            }),
            Some(up) => errors.extend(clash(down, up).map(|error| match error {
                CatalogError::DuplicateVersion { file, other, version } => {
                    CatalogError::NameDiffers { file, other, version }
                }
                other => other,
            })),
        }
    }

    let mut migrations = Vec::new();
    for (version, up) in ups {
        let down = downs.remove(&version);
        let mut script = |file: &Named<'_>| {
            read_script(file.file, file.bytes)
                .map_err(|error| errors.push(error))
                .ok()
        };
        let down = down.as_ref().and_then(&mut script);
        let Some(up_script) = script(&up) else { continue };
        if up_script.is_empty(engine) {
            errors.push(CatalogError::EmptyUp {
                file: up.file.to_owned(),
            });
        }
        migrations.push(Migration {
            version,
            name: up.name.to_owned(),
            up: up_script,
            down,
        });
    }
    errors.sort_by(|a, b| a.file().cmp(b.file()));
    CatalogErrors::collect(errors).map(|()| migrations)
}

/// What is wrong with two files of one version: two spellings of the number, or two names. Files for different engines
/// with the same spelling and name are meant to be there both.
fn clash(file: &Named<'_>, other: &Named<'_>) -> Option<CatalogError> {
    let (name, other_name) = (file.file.to_owned(), other.file.to_owned());
    let version = file.version.clone();
    if file.version.as_str() != other.version.as_str() {
        return Some(CatalogError::EqualVersion {
            file: name,
            other: other_name,
            version,
        });
    }
    (file.name != other.name).then_some(CatalogError::DuplicateVersion {
        file: name,
        other: other_name,
        version,
    })
}

/// How well a file's engine suits: higher goes first, none is not for us.
fn rank(of_file: Option<Engine>, engine: Engine) -> Option<u8> {
    match of_file {
        None => Some(0),
        Some(Engine::Mysql) if engine == Engine::Mariadb => Some(1),
        Some(named) => (named == engine).then_some(2),
    }
}

fn parse_name<'a>(file: &'a str, bytes: &'a [u8]) -> Result<Named<'a>, &'static str> {
    let mut parts = file.split('.');
    let stem = parts.next().unwrap_or_default();
    let endings: Vec<_> = parts.collect();
    let (engine, direction) = match endings[..] {
        [direction, "sql"] => (None, direction),
        [engine, direction, "sql"] => {
            let engine = engine
                .parse()
                .map_err(|_| "what stands before `.up` or `.down` is no engine: sqlite, postgres, mysql, mariadb");
            (Some(engine?), direction)
        }
        [.., ending] if ending != "sql" => return Err("it ends in `.sql`, but not in lower case"),
        _ => return Err("neither `.up` nor `.down` stands before `.sql`"),
    };
    let direction = match direction {
        "up" => Direction::Up,
        "down" => Direction::Down,
        _ => return Err("neither `.up` nor `.down` stands before `.sql`"),
    };
    let digits = stem.find(|c: char| !c.is_ascii_digit()).unwrap_or(stem.len());
    let (version, name) = stem.split_at(digits);
    let version = Version::parse(version).map_err(|_| "it does not begin with a version in digits")?;
    let name = match name.strip_prefix('_') {
        Some(name) => name,
        None if name.is_empty() => name,
        None => return Err("no `_` follows the version"),
    };
    Ok(Named {
        file,
        bytes,
        version,
        name,
        engine,
        direction,
    })
}
