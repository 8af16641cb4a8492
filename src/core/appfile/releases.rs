//! `spec.releases`.

use std::collections::BTreeMap;

use super::error::{Place, Problem};
use super::read::{Log, Spot};
use super::shape::{Accepts, DataEngine, Release, WorkloadRef};
use super::tree::Value;
use crate::model::Version;

const DATA_ENGINES: [(&str, DataEngine); 6] = [
    ("mysql", DataEngine::Mysql),
    ("mariadb", DataEngine::Mariadb),
    ("postgres", DataEngine::Postgres),
    ("mongodb", DataEngine::Mongodb),
    ("redis", DataEngine::Redis),
    ("valkey", DataEngine::Valkey),
];

/// A schema version and where it is written.
type Named = (String, Version, Place);

pub(super) fn read(at: &Spot<'_>, workloads: &[WorkloadRef], log: &mut Log) -> Vec<Release> {
    let mut releases: Vec<Release> = Vec::new();
    for at in at.list("a list of releases", log) {
        let Some(release) = read_one(&at, workloads, log) else {
            continue;
        };
        match releases.iter().find(|other| other.version == release.version) {
            Some(first) => {
                let (value, first) = (release.version.to_string(), first.place.line);
                log.add(
                    release.place,
                    Problem::Duplicate {
                        path: format!("{}.version", at.path),
                        value,
                        first,
                    },
                );
            }
            None => releases.push(release),
        }
    }
    releases
}

fn read_one(at: &Spot<'_>, workloads: &[WorkloadRef], log: &mut Log) -> Option<Release> {
    let mut fields = at.fields(log)?;
    let version = fields.need("version", "a semantic version such as 1.3.0", log);
    let place = version.as_ref().map_or(at.node.place, |at| at.node.place);
    let version = version.and_then(|at| at.parse("a semantic version such as 1.3.0", log, semantic));
    let schema = fields.need("schema", "the release's newest migration", log);
    let schema = schema.and_then(|at| read_schema(&at, log));
    let accepts = fields.get("accepts");
    let images = fields
        .get("images")
        .map(|at| read_images(&at, workloads, log))
        .unwrap_or_default();
    let engine = fields.get("engine").map(|at| read_engine(&at, log)).unwrap_or_default();
    fields.finish(log);
    let ends = accepts
        .map(|at| read_accepts(&at, schema.as_ref(), log))
        .unwrap_or_default();

    let (version, schema) = (version?, schema?);
    let end = |end: &Option<Named>| end.as_ref().map_or_else(|| schema.1.clone(), |end| end.1.clone());
    Some(Release {
        version,
        schema: schema.1.clone(),
        accepts: Accepts {
            min: end(&ends.0),
            max: end(&ends.1),
        },
        images,
        engine,
        place,
        named_schemas: [Some(schema), ends.0, ends.1].into_iter().flatten().collect(),
    })
}

fn semantic(text: &str) -> Result<semver::Version, String> {
    semver::Version::parse(text).map_err(|error| {
        format!(
            "`{text}` is no semantic version ({error}); expected three numbers and perhaps a suffix: 1.3.0, 1.3.0-rc.1"
        )
    })
}

fn read_schema(at: &Spot<'_>, log: &mut Log) -> Option<Named> {
    let version = at.parse("a schema version in digits", log, Version::parse)?;
    Some((at.path.clone(), version, at.node.place))
}

fn read_accepts(at: &Spot<'_>, schema: Option<&Named>, log: &mut Log) -> (Option<Named>, Option<Named>) {
    let Some(mut fields) = at.fields(log) else {
        return (None, None);
    };
    let min = fields.get("min").and_then(|at| read_schema(&at, log));
    let max = fields.get("max").and_then(|at| read_schema(&at, log));
    fields.finish(log);
    if let (Some((_, min, _)), Some((_, max, _))) = (&min, &max)
        && min > max
    {
        log.invalid(at, format_args!("min {min} is above max {max}; exchange them"));
    } else if let Some((_, schema, _)) = schema {
        let above = min
            .as_ref()
            .filter(|(_, min, _)| min > schema)
            .map(|(_, min, _)| ("min", min, "above"));
        let below = max
            .as_ref()
            .filter(|(_, max, _)| max < schema)
            .map(|(_, max, _)| ("max", max, "below"));
        if let Some((end, version, side)) = above.or(below) {
            let why =
                format_args!("{end} {version} is {side} the release's own schema {schema}, on which it must run too");
            log.invalid(at, why);
        }
    }
    (min, max)
}

type Images = BTreeMap<String, BTreeMap<String, String>>;

fn read_images(at: &Spot<'_>, workloads: &[WorkloadRef], log: &mut Log) -> Images {
    let expected = "a mapping of workload to container to image";
    let entries = at.entries(expected, log);
    let is_short = entries.iter().any(|(_, at)| matches!(at.node.value, Value::Scalar(_)));
    if is_short {
        return match workloads {
            [only] => BTreeMap::from([(only.name.clone(), read_containers(at, log))]),
            _ => {
                let why = format!(
                    "the workload may be left out only where there is exactly one, and there are {}; \
                     write {{WORKLOAD: {{CONTAINER: IMAGE}}}}",
                    workloads.len()
                );
                log.invalid(at, why);
                BTreeMap::new()
            }
        };
    }
    let mut images = BTreeMap::new();
    for (key, at) in entries {
        if workloads.iter().any(|workload| workload.name == key.text) {
            images.insert(key.text.clone(), read_containers(&at, log));
        } else {
            let choices = workloads.iter().map(|workload| workload.name.clone()).collect();
            let problem = Problem::UnknownValue {
                path: at.path.clone(),
                value: key.text.clone(),
                choices,
            };
            log.add(key.place, problem);
        }
    }
    images
}

fn read_containers(at: &Spot<'_>, log: &mut Log) -> BTreeMap<String, String> {
    let mut containers = BTreeMap::new();
    for (key, at) in at.entries("a mapping of container to image", log) {
        let image = at.parse("an image", log, |text| {
            let is_image = !text.contains(char::is_whitespace);
            is_image
                .then(|| text.to_owned())
                .ok_or_else(|| format!("`{text}` is no image: it has white space in it"))
        });
        if let Some(image) = image {
            containers.insert(key.text.clone(), image);
        }
    }
    containers
}

fn read_engine(at: &Spot<'_>, log: &mut Log) -> BTreeMap<DataEngine, semver::VersionReq> {
    let mut ranges = BTreeMap::new();
    for (key, at) in at.entries("a mapping of engine to versions", log) {
        let range = at.parse("a range of versions such as \">=8.0.36, <8.1\"", log, |text| {
            semver::VersionReq::parse(text).map_err(|error| {
                format!("`{text}` is no range of versions ({error}); expected for example \">=8.0.36, <8.1\"")
            })
        });
        match DATA_ENGINES.iter().find(|(name, _)| *name == key.text) {
            Some((_, engine)) => {
                if let Some(range) = range {
                    ranges.insert(*engine, range);
                }
            }
            None => {
                let choices = DATA_ENGINES.iter().map(|(name, _)| (*name).to_owned()).collect();
                let problem = Problem::UnknownValue {
                    path: at.path.clone(),
                    value: key.text.clone(),
                    choices,
                };
                log.add(key.place, problem);
            }
        }
    }
    ranges
}
