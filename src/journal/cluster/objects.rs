//! How a run lies in ConfigMaps: names, labels, a plan's parts, segments of entries.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use stepback_core::journal::{Entry, read_lines};
use stepback_core::model::RunId;
use stepback_core::plan::Plan;

use crate::journal::{JournalError, stored_plan};

/// Bytes of a compressed plan in one object. An object holds 1 MiB, binary data is written as base64.
pub(super) const PART_BYTES: usize = 512 * 1024;
/// Objects of one plan.
pub(super) const MAX_PARTS: usize = 16;
/// Bytes of lines in one segment. The whole segment is written to etcd with every append.
pub(super) const SEGMENT_BYTES: usize = 32 * 1024;
/// What a plan may unfold to: far above any real one, far below what would exhaust memory.
const MAX_PLAN_BYTES: u64 = 512 * 1024 * 1024;

const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "stepback");
const RUN: &str = "stepback.dev/run";
const PART: &str = "stepback.dev/part";
const INDEX: &str = "stepback.dev/index";
const PLAN: &str = "plan";
const ENTRIES: &str = "entries";
/// Annotations of a plan's parts: how many there are, and for which app.
const PARTS: &str = "stepback.dev/parts";
const APP: &str = "stepback.dev/app";
/// The keys in an object's data.
const PLAN_KEY: &str = "plan.json.zz";
const LINES_KEY: &str = "lines";

/// A segment, read.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub index: usize,
    pub version: String,
    pub sealed: bool,
    pub lines: String,
    pub entries: Vec<Entry>,
}

pub(super) fn damaged(run: &RunId, message: impl Into<String>) -> JournalError {
    JournalError::Damaged {
        run: run.clone(),
        message: message.into(),
    }
}

/// The selector of everything of a run.
pub(super) fn of_run(run: &RunId) -> String {
    format!("{}={},{RUN}={run}", MANAGED_BY.0, MANAGED_BY.1)
}

/// The selector of a run's segments.
pub(super) fn segments_of(run: &RunId) -> String {
    format!("{},{PART}={ENTRIES}", of_run(run))
}

/// The selector of all runs' segments.
pub(super) fn all_segments() -> String {
    format!("{}={},{PART}={ENTRIES}", MANAGED_BY.0, MANAGED_BY.1)
}

/// The selector of each run's first part of the plan.
pub(super) fn first_parts() -> String {
    format!("{}={},{PART}={PLAN},{INDEX}=0", MANAGED_BY.0, MANAGED_BY.1)
}

/// The run that an object belongs to.
pub(super) fn run_of(metadata: &ObjectMeta) -> Option<RunId> {
    metadata.labels.as_ref()?.get(RUN).cloned().map(RunId)
}

/// The app that a part of a plan was made for.
pub(super) fn app_of(metadata: &ObjectMeta) -> Option<&str> {
    metadata.annotations.as_ref()?.get(APP).map(String::as_str)
}

/// Where an object stands among those of its run: the plan's parts, then the segments.
pub(super) fn place_of(metadata: &ObjectMeta) -> (bool, Option<usize>) {
    let index = label(metadata, INDEX).and_then(|index| index.parse().ok());
    (label(metadata, PART) == Some(ENTRIES), index)
}

pub(super) fn segment_name(run: &RunId, index: usize) -> String {
    format!("stepback-{}-entries-{index}", run.0.to_lowercase())
}

fn metadata(run: &RunId, part: &str, index: usize) -> ObjectMeta {
    let labels = [
        (MANAGED_BY.0, MANAGED_BY.1.to_owned()),
        (RUN, run.0.clone()),
        (PART, part.to_owned()),
        (INDEX, index.to_string()),
    ];
    ObjectMeta {
        name: Some(format!("stepback-{}-{part}-{index}", run.0.to_lowercase())),
        labels: Some(
            labels
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        ),
        ..ObjectMeta::default()
    }
}

/// A plan as immutable objects. Same plan, same objects.
pub(super) fn plan_parts(run: &RunId, plan: &Plan) -> Result<Vec<ConfigMap>, JournalError> {
    let json = plan
        .to_json()
        .map_err(|error| damaged(run, format!("the plan cannot be written: {error}")))?;
    let compressed = compress(&json).map_err(|error| damaged(run, format!("the plan cannot be written: {error}")))?;
    let chunks: Vec<&[u8]> = compressed.chunks(PART_BYTES).collect();
    if chunks.len() > MAX_PARTS {
        return Err(JournalError::TooLarge {
            bytes: compressed.len(),
            limit: MAX_PARTS * PART_BYTES,
        });
    }
    let mut annotations = BTreeMap::from([(PARTS.to_owned(), chunks.len().to_string())]);
    if let Some(app) = &plan.app {
        annotations.insert(APP.to_owned(), app.clone());
    }
    Ok(chunks
        .into_iter()
        .enumerate()
        .map(|(index, chunk)| ConfigMap {
            metadata: ObjectMeta {
                annotations: Some(annotations.clone()),
                ..metadata(run, PLAN, index)
            },
            binary_data: Some(BTreeMap::from([(PLAN_KEY.to_owned(), ByteString(chunk.to_vec()))])),
            immutable: Some(true),
            ..ConfigMap::default()
        })
        .collect())
}

fn compress(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// The plan from its parts, with its id checked against its contents (LAWS W8).
pub(super) fn read_plan(run: &RunId, maps: &[ConfigMap]) -> Result<Plan, JournalError> {
    let mut parts: BTreeMap<usize, &ConfigMap> = BTreeMap::new();
    for map in maps {
        if label(&map.metadata, PART) == Some(PLAN) {
            parts.insert(index_of(run, &map.metadata)?, map);
        }
    }
    let Some(first) = parts.get(&0) else {
        return Err(damaged(run, "its plan is missing"));
    };
    let count = first.metadata.annotations.as_ref().and_then(|all| all.get(PARTS));
    let count: Option<usize> = count.and_then(|count| count.parse().ok());
    let whole = count == Some(parts.len()) && parts.keys().copied().eq(0..parts.len());
    if !whole {
        return Err(damaged(
            run,
            format!("{} of {} parts of its plan are there", parts.len(), count.unwrap_or(0)),
        ));
    }
    let compressed: Vec<u8> = parts
        .values()
        .flat_map(|map| map.binary_data.iter().flat_map(|data| data.get(PLAN_KEY)))
        .flat_map(|bytes| bytes.0.iter().copied())
        .collect();
    let mut json = Vec::new();
    ZlibDecoder::new(compressed.as_slice())
        .take(MAX_PLAN_BYTES)
        .read_to_end(&mut json)
        .map_err(|error| damaged(run, format!("its plan cannot be unpacked: {error}")))?;
    stored_plan(run, &json)
}

/// A segment as an object, before it exists.
pub(super) fn new_segment(run: &RunId, index: usize, lines: String) -> ConfigMap {
    ConfigMap {
        metadata: metadata(run, ENTRIES, index),
        data: Some(BTreeMap::from([(LINES_KEY.to_owned(), lines)])),
        ..ConfigMap::default()
    }
}

/// The segments among these objects, in order and without a gap.
pub(super) fn segments(run: &RunId, maps: Vec<ConfigMap>) -> Result<Vec<Segment>, JournalError> {
    let mut segments = Vec::new();
    for map in maps {
        if label(&map.metadata, PART) == Some(ENTRIES) {
            segments.push(segment(run, map)?);
        }
    }
    segments.sort_by_key(|segment| segment.index);
    match segments.iter().enumerate().find(|(at, segment)| segment.index != *at) {
        Some((at, _)) => Err(damaged(run, format!("segment {at} of its entries is missing"))),
        None => Ok(segments),
    }
}

/// One segment, its lines checked.
pub(super) fn segment(run: &RunId, map: ConfigMap) -> Result<Segment, JournalError> {
    let index = index_of(run, &map.metadata)?;
    let lines = map.data.unwrap_or_default().remove(LINES_KEY).unwrap_or_default();
    let read = read_lines(&lines).map_err(|error| damaged(run, format!("segment {index}: {error}")))?;
    // An object is written whole or not at all: what looks torn here was changed by somebody.
    if let Some(torn) = read.torn {
        return Err(damaged(
            run,
            format!("segment {index} ends in a line that is no entry: {torn:?}"),
        ));
    }
    Ok(Segment {
        index,
        version: map.metadata.resource_version.unwrap_or_default(),
        sealed: map.immutable == Some(true),
        lines,
        entries: read.entries,
    })
}

fn label<'a>(metadata: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    metadata.labels.as_ref()?.get(name).map(String::as_str)
}

fn index_of(run: &RunId, metadata: &ObjectMeta) -> Result<usize, JournalError> {
    let index = label(metadata, INDEX).and_then(|index| index.parse().ok());
    index.ok_or_else(|| {
        let name = metadata.name.as_deref().unwrap_or_default();
        damaged(run, format!("ConfigMap {name} does not say which part it is"))
    })
}
