//! Which template is the target's (LAWS W1), and when a revision is paired.

use proptest::prelude::{Strategy as _, any, prop_assert, prop_assert_eq, proptest};
use proptest::sample::subsequence;

use super::super::template::{Wanted, target_template};
use super::*;
use crate::model::{Finding, MigrationSet, Pairing, Severity, add_pairing};

/// Name, image, and the releases that it is paired with: `APP RELEASE`.
type Kept = (&'static str, &'static str, &'static [&'static str]);

const PRESENT: Kept = ("shop-new", "shop:1.3.0", &[]);

fn set(versions: &[&str]) -> MigrationSet {
    versions.iter().map(|text| version(text)).collect()
}

fn workload(revisions: &[Kept]) -> SeenWorkload {
    let mut workload = shop_set(|_| {}).workloads.remove(0);
    let made = revisions.iter().map(|(name, image, paired)| {
        let mut revision = workload.revisions[0].clone();
        revision.metadata.name = Some((*name).to_owned());
        revision.data.0["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
        for pairing in *paired {
            let (app, release) = pairing.split_once(' ').unwrap();
            let pairing = Pairing::new(app, release.parse().unwrap(), Some(&set(&["1", "2"])));
            let text = add_pairing(&revision, &pairing);
            revision.metadata.annotations = Some([(annotation::PAIRINGS.to_owned(), text)].into());
        }
        revision
    });
    workload.revisions = made.collect();
    workload
}

fn choose(
    seen: &SeenWorkload,
    image: Option<&str>,
    recorded: Option<&MigrationSet>,
) -> (Option<TemplateRef>, Vec<Finding>) {
    let images = image.map(|image| BTreeMap::from([("shop".to_owned(), image.to_owned())]));
    let wanted = Wanted {
        app: "shop",
        release: &"1.2.0".parse().unwrap(),
        images: images.as_ref(),
        recorded,
    };
    let mut findings = Vec::new();
    let template = target_template(seen, &wanted, &mut findings);
    (template, findings)
}

/// The revision's name or `-`, then codes, those of refusals with a `!`.
fn told(revisions: &[Kept], image: Option<&str>) -> String {
    let all: Vec<Kept> = revisions.iter().copied().chain([PRESENT]).collect();
    let (template, findings) = choose(&workload(&all), image, None);
    let revision = template.map(|template| template.revision.unwrap_or_else(|| "present".to_owned()));
    let codes = findings.iter().map(|finding| match finding.severity {
        Severity::Refusal => format!("{}!", finding.code),
        _ => finding.code.clone(),
    });
    let words: Vec<String> = std::iter::once(revision.unwrap_or_else(|| "-".to_owned()))
        .chain(codes)
        .collect();
    words.join(" ")
}

#[test]
fn w1_the_target_is_found_by_its_pairing_where_the_images_are_the_releases() {
    let filed = Some("shop:1.2.0");
    let old: Kept = ("old", "shop:1.2.0", &[]);
    let paired: Kept = ("paired", "shop:1.2.0", &["shop 1.2.0"]);
    let rebuilt: Kept = ("rebuilt", "shop:1.2.0-2", &["shop 1.2.0"]);
    // Pairing and file agree; the pairing tells apart what the images do not.
    assert_eq!(told(&[paired], filed), "paired");
    assert_eq!(told(&[old, paired], filed), "paired");
    assert_eq!(told(&[rebuilt, paired], filed), "paired");
    assert_eq!(
        told(&[old, ("other", "shop:1.2.0", &[])], filed),
        "- revision-ambiguous!"
    );
    // Several refuse.
    let twice: Kept = ("twice", "shop:1.2.0", &["shop 1.1.0", "shop 1.2.0"]);
    assert_eq!(told(&[paired, twice], filed), "- revision-ambiguous!");
    // One of several that the workload has now stays, and is doubted, unless it alone is paired.
    let with_present = |present: &'static [&str], others: &[Kept]| {
        let all: Vec<Kept> = others
            .iter()
            .copied()
            .chain([("shop-new", "shop:1.2.0", present)])
            .collect();
        let (template, findings) = choose(&workload(&all), Some("shop:1.2.0"), None);
        let codes: Vec<_> = findings.iter().map(|one| (one.code.clone(), one.severity)).collect();
        (template.and_then(|template| template.revision), codes)
    };
    let doubted = vec![("revision-ambiguous".to_owned(), Severity::Warning)];
    let new = || Some("shop-new".to_owned());
    assert_eq!(with_present(&[], &[old]), (new(), doubted.clone()));
    assert_eq!(with_present(&["shop 1.2.0"], &[paired]), (new(), doubted));
    assert_eq!(with_present(&["shop 1.2.0"], &[old]), (new(), vec![]));
    assert_eq!(with_present(&[], &[paired]).0, Some("paired".to_owned()));
    // No pairing: the images.
    assert_eq!(told(&[old], filed), "old");
    assert_eq!(told(&[], filed), "present template-unknown");
    // Another app's, and another revision's, are none.
    let others: Kept = ("others", "shop:1.2.0-2", &["billing 1.2.0"]);
    assert_eq!(told(&[others, old], filed), "old");
    let mut copied = workload(&[paired, PRESENT]);
    copied.revisions[0].metadata.name = Some("copied".to_owned());
    assert_eq!(choose(&copied, None, None).1[0].code, "images-unknown");
}

#[test]
fn w1_sources_that_disagree_are_a_finding() {
    let filed = Some("shop:1.2.0");
    let rebuilt: Kept = ("rebuilt", "shop:1.2.0-2", &["shop 1.2.0"]);
    let old: Kept = ("old", "shop:1.2.0", &[]);
    // What has run with the file's images is no guess; the present template is.
    assert_eq!(told(&[rebuilt, old], filed), "old revision-differs");
    assert_eq!(told(&[rebuilt], filed), "present revision-differs! template-unknown");
    let other: Kept = ("other", "shop:1.2.0", &["shop 1.1.0"]);
    assert_eq!(told(&[other], filed), "other revision-differs");
    // The database's record.
    let seen = workload(&[("paired", "shop:1.2.0", &["shop 1.2.0"]), PRESENT]);
    let codes = |recorded: &MigrationSet| -> Vec<String> {
        let (template, findings) = choose(&seen, filed, Some(recorded));
        assert!(template.is_some());
        findings.into_iter().map(|finding| finding.code).collect()
    };
    assert_eq!(codes(&set(&["1", "2"])), [""; 0]);
    assert_eq!(codes(&set(&["1", "3"])), ["revision-differs"]);
    assert_eq!(codes(&set(&["2"])), ["revision-differs"]);
}

#[test]
fn w1_a_colleague_without_the_images_still_has_the_pairing() {
    let paired: Kept = ("paired", "shop:1.2.0", &["shop 1.2.0"]);
    let again: Kept = ("again", "shop:1.2.0-2", &["shop 1.2.0"]);
    assert_eq!(told(&[paired], None), "paired images-unfiled");
    assert_eq!(told(&[paired, again], None), "- revision-ambiguous!");
    assert_eq!(
        told(&[("old", "shop:1.2.0", &["shop 1.1.0"])], None),
        "- images-unknown!"
    );
}

fn rollback(app: &AppFile, cluster: SeenCluster) -> Result<Plan, Refusals> {
    let catalog = Catalog::default();
    let request = ask(Goal::Release("1.2.0".parse().unwrap()), Some(app), &catalog);
    let world = Seen {
        cluster: Some(cluster),
        ..seen()
    };
    plan(&request, &world)
}

#[test]
fn w1_what_was_gated_is_paired_and_nothing_else() {
    let app = AppFile::parse(APP, "stepback.yaml").unwrap();
    let pairings = |plan: &Plan| -> Vec<Pairing> {
        let mut gated = false;
        let mut found = Vec::new();
        for step in &plan.steps {
            gated |= matches!(step.gate, Gate::PodHealthy { .. });
            if let Action::Pair { pairing, template, .. } = &step.action {
                assert!(gated, "before its gates");
                assert_eq!(template.revision.as_deref(), Some("shop-old"));
                found.push(pairing.clone());
            }
        }
        found
    };
    let plan = rollback(&app, shop_set(|_| {})).unwrap();
    let schema = set(&["20240101090000", "20240115120000"]);
    let expected = Pairing::new("shop", "1.2.0".parse().unwrap(), Some(&schema));
    assert_eq!(pairings(&plan), [expected]);
    // No pod is started, so nobody has seen one healthy.
    let plan = rollback(&app, shop_set(|set| set["spec"]["replicas"] = json!(0))).unwrap();
    assert_eq!(pairings(&plan), []);
    assert!(plan.has_workload_steps());
}

#[test]
fn a_missing_right_to_pair_only_warns() {
    let app = AppFile::parse(APP, "stepback.yaml").unwrap();
    let catalog = Catalog::default();
    let request = ask(Goal::Release("1.2.0".parse().unwrap()), Some(&app), &catalog);
    let world = Seen {
        cluster: Some(shop_set(|_| {})),
        missing_pairing: vec!["may not patch controllerrevisions.apps in namespace shop".to_owned()],
        ..seen()
    };
    let plan = plan(&request, &world).unwrap();
    let found = plan
        .findings
        .iter()
        .find(|finding| finding.code == "rights-missing")
        .unwrap();
    assert_eq!(found.severity, Severity::Warning);
}

const SOME: [Kept; 8] = [
    ("a", "shop:1.2.0", &[]),
    ("b", "shop:1.2.0", &["shop 1.2.0"]),
    ("c", "shop:1.2.0", &["shop 1.1.0"]),
    ("d", "shop:1.2.0-2", &["shop 1.2.0"]),
    ("e", "shop:1.2.0-2", &[]),
    ("f", "shop:1.2.0", &["billing 1.2.0"]),
    ("g", "shop:1.2.0", &["shop 1.1.0", "shop 1.2.0"]),
    PRESENT,
];

proptest! {
    /// Whatever revisions are kept: pods never start with other images than the file's, what is paired goes before what
    /// is not, and only one that is beyond doubt is taken.
    #[test]
    fn w1_the_choice_is_never_a_guess(
        kept in subsequence(SOME.to_vec(), 0..=SOME.len()).prop_shuffle(),
        filed in any::<bool>(),
    ) {
        let seen = workload(&kept);
        let (template, findings) = choose(&seen, filed.then_some("shop:1.2.0"), None);
        let refused = findings.iter().any(|finding| finding.severity == Severity::Refusal);
        let is_paired = |kept: &&Kept| kept.2.contains(&"shop 1.2.0");
        let has_images = |kept: &&Kept| !filed || kept.1 == "shop:1.2.0";
        let beyond_doubt: Vec<&Kept> = kept.iter().filter(is_paired).filter(has_images).collect();
        let Some(template) = template else {
            prop_assert!(refused);
            prop_assert!(beyond_doubt.len() != 1);
            return Ok(());
        };
        match template.revision.as_deref() {
            Some(name) => {
                let chosen = kept.iter().find(|kept| kept.0 == name).unwrap();
                prop_assert!(has_images(&chosen));
                if !beyond_doubt.is_empty() {
                    prop_assert_eq!(&beyond_doubt, &vec![chosen]);
                } else {
                    prop_assert!(filed);
                    prop_assert_eq!(kept.iter().filter(has_images).count(), 1);
                }
            }
            None => {
                prop_assert!(filed && beyond_doubt.is_empty());
                let present = seen.template_images();
                prop_assert!(present.keys().eq(template.images.keys()));
            }
        }
        // In whichever order they are listed.
        let mut turned = kept;
        turned.reverse();
        let (other, _) = choose(&workload(&turned), filed.then_some("shop:1.2.0"), None);
        prop_assert_eq!(other, Some(template));
    }
}
