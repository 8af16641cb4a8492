//! Which pod template a workload has, and which one is the target's (LAWS W1).
//!
//! Sources, in this order of trust: the revision that a finished run has paired with the release, where its images are
//! those of the app file or the app file names none; the one revision with the app file's images; these images on the
//! present template. Where two of them contradict each other, that is a finding.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::ControllerRevision;

use crate::appfile::AppFile;
use crate::model::{Finding, MigrationSet, Pairing, SeenWorkload, TemplateRef, pairings_of, revision_images};

/// The template that the workload has: by revision name, where the controller has made one of it.
pub(super) fn present_template(seen: &SeenWorkload) -> TemplateRef {
    let images = seen.template_images();
    let update = seen
        .set
        .as_ref()
        .and_then(|set| set.status.as_ref()?.update_revision.clone());
    let revision = update.filter(|name| {
        let template = TemplateRef {
            revision: Some(name.clone()),
            images: images.clone(),
        };
        crate::workload::is_at(seen, &template)
    });
    TemplateRef { revision, images }
}

/// What is known of the release that a template is looked for.
pub(super) struct Wanted<'a> {
    /// The name of the app that it is one of.
    pub(super) app: &'a str,
    pub(super) release: &'a semver::Version,
    /// Its images of this workload in the app file, where it names any.
    pub(super) images: Option<&'a BTreeMap<String, String>>,
    /// The migrations that the database recorded it with.
    pub(super) recorded: Option<&'a MigrationSet>,
}

impl<'a> Wanted<'a> {
    /// A release of this app, for this workload.
    pub(super) fn of(
        app: &'a AppFile,
        release: &'a semver::Version,
        recorded: Option<&'a MigrationSet>,
        seen: &SeenWorkload,
    ) -> Self {
        let filed = app.release(release);
        Self {
            app: &app.name,
            release,
            images: filed.and_then(|filed| filed.images.get(&seen.workload.name)),
            recorded,
        }
    }
}

/// A revision that pods can be made from.
struct Kept<'a> {
    name: &'a str,
    images: BTreeMap<String, String>,
    /// The releases of this app that it is paired with.
    pairings: Vec<Pairing>,
}

impl<'a> Kept<'a> {
    fn read(revision: &'a ControllerRevision, wanted: &Wanted<'_>) -> Option<Self> {
        let mut pairings = pairings_of(revision);
        pairings.retain(|pairing| pairing.app == wanted.app);
        Some(Self {
            name: revision.metadata.name.as_deref()?,
            images: revision_images(revision)?,
            pairings,
        })
    }

    /// How it is paired with the release.
    fn pairing(&self, wanted: &Wanted<'_>) -> Option<&Pairing> {
        self.pairings.iter().find(|pairing| pairing.release == *wanted.release)
    }

    fn template(&self) -> TemplateRef {
        TemplateRef {
            revision: Some(self.name.to_owned()),
            images: self.images.clone(),
        }
    }
}

/// The template of a release, and everything that is doubtful about it; `None` where a finding forbids it.
pub(super) fn target_template(
    seen: &SeenWorkload,
    wanted: &Wanted<'_>,
    findings: &mut Vec<Finding>,
) -> Option<TemplateRef> {
    let kept: Vec<Kept<'_>> = seen
        .revisions
        .iter()
        .filter_map(|kept| Kept::read(kept, wanted))
        .collect();
    let paired: Vec<&Kept<'_>> = kept.iter().filter(|kept| kept.pairing(wanted).is_some()).collect();
    let Some(images) = wanted.images.filter(|images| !images.is_empty()) else {
        return without_images(seen, wanted, &paired, findings);
    };
    let with_images: Vec<&Kept<'_>> = kept.iter().filter(|kept| matches(images, &kept.images)).collect();
    let agreed: Vec<&Kept<'_>> = with_images
        .iter()
        .copied()
        .filter(|kept| kept.pairing(wanted).is_some())
        .collect();
    if !agreed.is_empty() {
        return only(seen, wanted, &agreed, findings);
    }
    check_contradiction(seen, wanted, images, (&paired, &with_images), findings);
    if with_images.is_empty() {
        on_present(seen, images, findings)
    } else {
        only(seen, wanted, &with_images, findings)
    }
}

/// Whether these are the release's images. It may name some containers only.
pub(super) fn matches(images: &BTreeMap<String, String>, found: &BTreeMap<String, String>) -> bool {
    images.iter().all(|(name, image)| found.get(name) == Some(image))
}

/// Whoever has no file with the images still has the pairing.
fn without_images(
    seen: &SeenWorkload,
    wanted: &Wanted<'_>,
    paired: &[&Kept<'_>],
    findings: &mut Vec<Finding>,
) -> Option<TemplateRef> {
    let (subject, release) = (seen.workload.to_string(), wanted.release);
    if paired.is_empty() {
        findings.push(Finding::refusal(
            "images-unknown",
            subject,
            format!(
                "the app file names no images of release {release} for it, and no revision of it is paired with that release"
            ),
            "add `images` to the release in the app file",
        ));
        return None;
    }
    let template = only(seen, wanted, paired, findings)?;
    findings.push(Finding::warning(
        "images-unfiled",
        subject,
        format!(
            "the app file names no images of release {release} for it; revision {} is taken, which an earlier run has \
             paired with that release: {}",
            template.revision.as_deref().unwrap_or_default(),
            list(&template.images)
        ),
        "check that these are the release's images, and add them as `images` to the release",
    ));
    Some(template)
}

/// The one revision. Of several, the one that the workload has now: nothing of it changes then, but which of them is the
/// release's is not known, and said, unless that one alone is paired with it.
fn only(
    seen: &SeenWorkload,
    wanted: &Wanted<'_>,
    candidates: &[&Kept<'_>],
    findings: &mut Vec<Finding>,
) -> Option<TemplateRef> {
    let status = seen.set.as_ref().and_then(|set| set.status.as_ref());
    let update = status.and_then(|status| status.update_revision.as_deref());
    let present = candidates.iter().find(|kept| Some(kept.name) == update);
    let chosen = match candidates {
        [one] => Some(one),
        _ => present,
    };
    let Some(chosen) = chosen else {
        let (message, remedy) = ambiguous(seen, wanted, candidates);
        findings.push(Finding::refusal(
            "revision-ambiguous",
            seen.workload.to_string(),
            message,
            remedy,
        ));
        return None;
    };
    let is_paired = |kept: &Kept<'_>| kept.pairing(wanted).is_some();
    let is_sole = is_paired(chosen) && candidates.iter().filter(|kept| is_paired(kept)).count() == 1;
    if candidates.len() > 1 && !is_sole {
        let (message, remedy) = ambiguous(seen, wanted, candidates);
        let message = format!("{message}; the one that it has now, {}, stays", chosen.name);
        findings.push(Finding::warning(
            "revision-ambiguous",
            seen.workload.to_string(),
            message,
            remedy,
        ));
    }
    check_record(seen, wanted, chosen, findings);
    Some(chosen.template())
}

/// What is ambiguous, and what to do about it.
fn ambiguous(seen: &SeenWorkload, wanted: &Wanted<'_>, candidates: &[&Kept<'_>]) -> (String, String) {
    let names: Vec<&str> = candidates.iter().map(|kept| kept.name).collect();
    let (names, namespace) = (names.join(", "), &seen.workload.namespace);
    let is_paired = candidates.iter().any(|kept| kept.pairing(wanted).is_some());
    if is_paired {
        (
            format!("several revisions are paired with release {}: {names}", wanted.release),
            format!(
                "compare them (`kubectl rollout history`), and take the pairing off those that are not the release's: \
                 kubectl -n {namespace} annotate controllerrevision NAME {}-",
                crate::model::annotation::PAIRINGS
            ),
        )
    } else {
        (
            format!("several revisions have the release's images: {names}"),
            "compare them (`kubectl rollout history`), and delete those that are not the release's".to_owned(),
        )
    }
}

/// The app file's images are those of no revision that is paired with the release: is one paired with it that has others,
/// or is the one with these images another release?
fn check_contradiction(
    seen: &SeenWorkload,
    wanted: &Wanted<'_>,
    images: &BTreeMap<String, String>,
    (paired, with_images): (&[&Kept<'_>], &[&Kept<'_>]),
    findings: &mut Vec<Finding>,
) {
    let (subject, release) = (seen.workload.to_string(), wanted.release);
    for kept in paired {
        let message = format!(
            "an earlier run has paired revision {} with release {release}, which ran {} then; the app file says {}",
            kept.name,
            list(&kept.images),
            list(images)
        );
        let remedy = "correct `images` of this release in the app file, unless it was built again since";
        // Where pods have run with the file's images, going back to them is no guess.
        findings.push(if with_images.is_empty() {
            Finding::refusal("revision-differs", subject.clone(), message, remedy)
        } else {
            Finding::warning("revision-differs", subject.clone(), message, remedy)
        });
    }
    if let [kept] = with_images
        && !kept.pairings.is_empty()
    {
        let others: Vec<String> = kept
            .pairings
            .iter()
            .map(|pairing| pairing.release.to_string())
            .collect();
        findings.push(Finding::warning(
            "revision-differs",
            subject,
            format!(
                "revision {} has the images that the app file names for release {release}, but an earlier run has paired \
                 it with {}",
                kept.name,
                others.join(", ")
            ),
            "check that the template of that release is this one's too: its environment, arguments and volumes",
        ));
    }
}

/// The revision was paired on the migrations that were applied then; the database may have recorded others.
fn check_record(seen: &SeenWorkload, wanted: &Wanted<'_>, kept: &Kept<'_>, findings: &mut Vec<Finding>) {
    let pairing = kept.pairing(wanted);
    let (Some(pairing), Some(recorded)) = (pairing, wanted.recorded) else {
        return;
    };
    if pairing.migrations.is_none_or(|digest| digest == recorded.digest()) {
        return;
    }
    let name = |newest: Option<&crate::model::Version>| match newest {
        Some(newest) => format!("schema {newest}"),
        None => "an empty schema".to_owned(),
    };
    let (then, now) = (name(pairing.schema.as_ref()), name(recorded.newest()));
    let difference = if then == now {
        format!("both up to {now}, but not the same migrations")
    } else {
        format!("{then} there, {now} here")
    };
    findings.push(Finding::warning(
        "revision-differs",
        seen.workload.to_string(),
        format!(
            "revision {} was paired with release {} on other migrations than the database recorded that release with: \
             {difference}",
            kept.name, wanted.release
        ),
        "the database's record is followed; check that this is the release's database, and that it was not restored",
    ));
}

/// The release's images on the present template.
fn on_present(
    seen: &SeenWorkload,
    images: &BTreeMap<String, String>,
    findings: &mut Vec<Finding>,
) -> Option<TemplateRef> {
    let subject = seen.workload.to_string();
    let present = seen.template_images();
    let unknown: Vec<&str> = images
        .keys()
        .filter(|name| !present.contains_key(*name))
        .map(String::as_str)
        .collect();
    if !unknown.is_empty() {
        findings.push(Finding::refusal(
            "container-unknown",
            subject,
            format!("its template has no container {}", unknown.join(", ")),
            format!(
                "name the containers that it has: {}",
                present.keys().cloned().collect::<Vec<_>>().join(", ")
            ),
        ));
        return None;
    }
    if !matches(images, &present) {
        findings.push(Finding::warning(
            "template-unknown",
            subject,
            "no revision with the release's images is kept, so its images are put on the present template: environment, \
             arguments and volumes stay those of the newer release",
            "check that the older release runs with them",
        ));
    }
    let mut target = present;
    target.extend(images.iter().map(|(name, image)| (name.clone(), image.clone())));
    Some(TemplateRef {
        revision: None,
        images: target,
    })
}

fn list(images: &BTreeMap<String, String>) -> String {
    let images: Vec<String> = images.iter().map(|(name, image)| format!("{name} {image}")).collect();
    images.join(", ")
}
