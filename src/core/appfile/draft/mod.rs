//! A first app file, from what was found: what is known stands there, what is not stands there as a comment to fill in.
//!
//! Responsible for: the text, which [`AppFile::parse`](super::AppFile::parse) takes whatever was found. Not for: finding
//! anything (`cli` does).

mod text;

use std::collections::BTreeMap;

use crate::model::Version;

use text::{comment, scalar};

/// What was found for a first app file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    /// The app's name, as near to a name as it was found.
    pub name: String,
    /// The URL to write down; without one, the variable `DATABASE_URL` is named.
    pub url: Option<String>,
    /// What was found of the database, or why nothing was, in a sentence.
    pub database: String,
    /// What says that another tool keeps a ledger there, in a sentence.
    pub ledger: Option<String>,
    /// The migrations folder, relative to the app file.
    pub folder: Option<String>,
    /// What was found in it, in a sentence.
    pub migrations: String,
    /// The newest migration that is applied, or else that lies in the folder.
    pub newest: Option<Version>,
    /// What was found in the cluster, or why nothing was, in a sentence.
    pub cluster: String,
    /// The workloads there. One is taken; of several, somebody must choose.
    pub workloads: Vec<DraftWorkload>,
    /// The releases that the database knows, with their newest migration.
    pub releases: BTreeMap<semver::Version, Version>,
}

/// A workload that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DraftWorkload {
    /// `StatefulSet` or `Deployment`.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Container to image, init containers included.
    pub images: BTreeMap<String, String>,
    /// Path and port of an HTTP readiness probe, and whether it goes over TLS.
    pub http: Option<(String, u16, bool)>,
}

impl DraftWorkload {
    /// The release that its images name by their tag, where they agree on one.
    pub fn release(&self) -> Option<semver::Version> {
        let mut releases: Vec<_> = self.images.values().filter_map(|image| release_of(image)).collect();
        releases.dedup();
        match releases.as_slice() {
            [one] => Some(one.clone()),
            _ => None,
        }
    }
}

/// `registry.example/shop:v1.3.0` is of 1.3.0.
fn release_of(image: &str) -> Option<semver::Version> {
    let image = image.split('@').next()?;
    let (_, tag) = image.rsplit('/').next()?.split_once(':')?;
    tag.strip_prefix('v').unwrap_or(tag).parse().ok()
}

impl Draft {
    /// The workload that is meant, where there is no choice.
    pub fn workload(&self) -> Option<&DraftWorkload> {
        match self.workloads.as_slice() {
            [only] if only.kind == "StatefulSet" => Some(only),
            _ => {
                let mut sets = self.workloads.iter().filter(|workload| workload.kind == "StatefulSet");
                sets.next().filter(|_| sets.next().is_none())
            }
        }
    }

    /// The text of the app file.
    pub fn write(&self) -> String {
        let mut out = String::new();
        let name = text::label(&self.name);
        out.push_str(&format!(
            "# Which database, workloads and releases belong together. `stepback init` wrote it from what it found: look at\n\
             # it, fill in what it could not know, then type `stepback status`. Every key: docs/app-file.md.\n\
             # For an editor: `stepback schema > stepback.schema.json`, and make this the first line:\n\
             # yaml-language-server: $schema=stepback.schema.json\n\
             apiVersion: stepback.dev/v1\nkind: App\nmetadata: {{ name: {name} }}\nspec:\n"
        ));
        self.write_database(&mut out);
        self.write_workloads(&mut out);
        self.write_releases(&mut out);
        self.write_probes(&mut out);
        out.push_str(REST);
        out
    }

    fn write_database(&self, out: &mut String) {
        out.push_str("  database:\n");
        out.push_str(&comment(4, &self.database));
        out.push_str("    # Or {file: PATH}, {secret: NAME, key: KEY}, or a URL that holds no password.\n");
        match &self.url {
            Some(url) => out.push_str(&format!("    url: {}\n", scalar(url))),
            None => out.push_str("    url: { env: DATABASE_URL }\n"),
        }
        out.push_str(&comment(4, &self.migrations));
        match &self.folder {
            Some(folder) => out.push_str(&format!("    migrations: {}\n", scalar(folder))),
            None => out.push_str("    # migrations: migrations\n"),
        }
        if let Some(ledger) = &self.ledger {
            out.push_str(&comment(4, ledger));
        }
        out.push_str(
            "    # layout: auto                      # whose file names the folder follows\n    \
             # ledger: auto                      # whose table says what is applied\n    \
             # appRoles: [shop]                  # whose sessions must be gone when the app is stopped\n",
        );
    }

    fn write_workloads(&self, out: &mut String) {
        out.push_str("\n  # What runs on the database and goes back with it, in starting order; stopped in reverse.\n");
        out.push_str(&comment(2, &self.cluster));
        let chosen = self.workload();
        if chosen.is_none() && self.workloads.len() > 1 {
            out.push_str("  # Take the # off those that use the database.\n");
        }
        out.push_str("  workloads:\n");
        for workload in &self.workloads {
            let mark = if chosen == Some(workload) { "" } else { "# " };
            let (kind, namespace, name) = (&workload.kind, scalar(&workload.namespace), scalar(&workload.name));
            out.push_str(&format!(
                "    {mark}- {{ kind: {kind}, namespace: {namespace}, name: {name} }}\n"
            ));
        }
        if self.workloads.is_empty() {
            out.push_str("    # - { kind: StatefulSet, namespace: production, name: shop }\n");
        }
        out.push_str(
            "  # Others that use the database, suspended during a run:\n  # alsoUses:\n  \
             #   - { kind: CronJob, namespace: production, name: shop-reports }\n",
        );
    }

    fn write_releases(&self, out: &mut String) {
        out.push_str(
            "\n  # The releases that one can come from and go to: each with its newest migration, and the images it runs.\n  \
             # `accepts: { min: \"…\", max: \"…\" }` says which schemas it can run on, where that is more than its own.\n  \
             releases:\n",
        );
        let workload = self.workload();
        let mut releases = self.releases.clone();
        let present = workload.and_then(DraftWorkload::release);
        if let (Some(present), Some(newest)) = (&present, &self.newest) {
            releases.entry(present.clone()).or_insert_with(|| newest.clone());
        }
        for (release, schema) in releases.iter().rev() {
            out.push_str(&format!(
                "    - version: {}\n      schema: \"{schema}\"\n",
                scalar(&release.to_string())
            ));
            let Some(workload) = workload else { continue };
            let is_present = present.as_ref() == Some(release);
            // What another release's images were called can be guessed; that is for somebody to confirm.
            let (mark, behind) = if is_present {
                ("", "")
            } else {
                ("# ", "     # is it called so?")
            };
            let images = images(workload, present.as_ref(), release);
            out.push_str(&format!("      {mark}images: {images}{behind}\n"));
        }
        if releases.len() < 2 {
            // Where one is known, the example is the one before: the same once more would not be two.
            let other = releases.keys().next().map_or(semver::Version::new(1, 2, 0), one_before);
            let example = workload.map_or_else(
                || format!("{{ shop: {{ shop: \"registry.example/shop:{other}\" }} }}"),
                |workload| images(workload, present.as_ref(), &other),
            );
            out.push_str(&format!(
                "    # - version: {}\n    #   schema: \"20240115120000\"\n    #   images: {example}\n",
                scalar(&other.to_string())
            ));
        }
    }

    fn write_probes(&self, out: &mut String) {
        out.push_str("\n  # What must hold on a pod before the next one is touched: all of them.\n  probes:\n");
        let http = self.workload().and_then(|workload| workload.http.as_ref());
        match http {
            Some((path, port, tls)) => {
                // A kubelet accepts any certificate too.
                let (word, behind) = if *tls {
                    ("https", ", insecure: true")
                } else {
                    ("http", "")
                };
                let path = scalar(path);
                out.push_str(&format!(
                    "    - {{ {word}: {{ path: {path}, port: {port}{behind} }}, successes: 3, period: 1s, timeout: 120s }}\n"
                ));
            }
            None => out.push_str(
                "    # - { http: { path: /healthz, port: 8080 }, successes: 3, period: 1s, timeout: 120s }\n",
            ),
        }
    }
}

/// What the release before may have been called.
fn one_before(release: &semver::Version) -> semver::Version {
    match (release.major, release.minor, release.patch) {
        (major, minor @ 1.., _) => semver::Version::new(major, minor - 1, 0),
        (major, 0, patch @ 1..) => semver::Version::new(major, 0, patch - 1),
        (major @ 1.., 0, 0) => semver::Version::new(major - 1, 0, 0),
        (0, 0, 0) => semver::Version::new(0, 0, 1),
    }
}

/// The images of the workload, with the present release's tag exchanged for another's.
fn images(workload: &DraftWorkload, present: Option<&semver::Version>, release: &semver::Version) -> String {
    let rename = |image: &str| match present.filter(|_| release_of(image).is_some()) {
        Some(present) if present != release => {
            let image = image.split('@').next().unwrap_or(image);
            let end = image.len() - present.to_string().len();
            format!("{}{release}", &image[..end])
        }
        _ => image.to_owned(),
    };
    let containers: Vec<String> = workload
        .images
        .iter()
        .map(|(container, image)| format!("{}: {}", scalar(container), scalar(&rename(image))))
        .collect();
    format!("{{ {}: {{ {} }} }}", scalar(&workload.name), containers.join(", "))
}

const REST: &str = "
  # Which way back: auto takes the first that holds of app-first, schema-first, offline.
  # strategy: auto
  # What a down may destroy: nothing (refuse), what was copied first (salvage), anything (accept).
  # dataLoss: refuse
  # How long things may take.
  # limits: { step: 10m, pod: 5m, statement: 10m, lockWait: 5s, lock: 30s, lease: 15s }
";

#[cfg(test)]
mod tests;
