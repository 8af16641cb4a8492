use proptest::prelude::*;

use super::*;
use crate::appfile::{AppFile, Ask, UrlSource};

fn shop() -> DraftWorkload {
    DraftWorkload {
        kind: "StatefulSet".into(),
        namespace: "production".into(),
        name: "shop".into(),
        images: BTreeMap::from([
            ("shop".into(), "registry.example:5000/shop:v1.3.0@sha256:00".into()),
            ("proxy".into(), "proxy:latest".into()),
        ]),
        http: Some(("/healthz".into(), 8080, false)),
    }
}

fn found() -> Draft {
    Draft {
        name: "shop".into(),
        database: "Found: SQLite 3.51, 4 migrations applied.".into(),
        folder: Some("db/migrations".into()),
        migrations: "Found: 4 migrations, the newest 20240301090000.".into(),
        newest: Some(Version::parse("20240301090000").unwrap()),
        cluster: "Found in namespace production.".into(),
        workloads: vec![shop()],
        releases: BTreeMap::from([
            ("1.3.0".parse().unwrap(), Version::parse("20240301090000").unwrap()),
            ("1.2.0".parse().unwrap(), Version::parse("20240115120000").unwrap()),
        ]),
        ..Draft::default()
    }
}

fn parse(draft: &Draft) -> AppFile {
    let text = draft.write();
    let parsed = AppFile::parse(&text, "stepback.yaml");
    parsed.unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

#[test]
fn what_was_found_stands_there() {
    let app = parse(&found());
    assert_eq!(
        (app.name.as_str(), app.database.migrations.as_str()),
        ("shop", "db/migrations")
    );
    let present = &app.releases[0];
    assert_eq!(
        present.images["shop"]["shop"],
        "registry.example:5000/shop:v1.3.0@sha256:00"
    );
    assert!(app.releases[1].images.is_empty(), "a guess must be confirmed");
    assert!(matches!(app.probes[0].ask, Ask::Http { port: 8080, .. }));
    insta::assert_snapshot!(found().write());
}

#[test]
fn what_was_not_found_is_an_example() {
    let nothing = Draft {
        name: "…".into(),
        database: "DATABASE_URL is not set, so the database was not looked at.".into(),
        migrations: "No folder of migrations was found.".into(),
        cluster: "No cluster was found.".into(),
        ..Draft::default()
    };
    let app = parse(&nothing);
    assert_eq!(
        (app.name.as_str(), app.workloads.len(), app.releases.len()),
        ("app", 0, 0)
    );
    insta::assert_snapshot!(nothing.write());
}

/// Taken as it stands, the example would be the same release once more.
#[test]
fn the_example_is_another_release_than_the_one_that_runs() {
    for (runs, example) in [
        ("1.2.0", "1.1.0"),
        ("2.0.0", "1.0.0"),
        ("1.0.3", "1.0.2"),
        ("0.0.0", "0.0.1"),
    ] {
        let draft = Draft {
            releases: BTreeMap::from([(runs.parse().unwrap(), Version::parse("20240115120000").unwrap())]),
            ..Draft::default()
        };
        let text = draft.write();
        assert_eq!(text.matches(&format!("- version: {runs}\n")).count(), 1, "{text}");
        assert!(text.contains(&format!("# - version: {example}\n")), "{text}");
    }
}

/// Uncommented, an example must be right too.
#[test]
fn the_examples_load_when_they_are_taken() {
    for draft in [found(), Draft::default()] {
        let taken = draft
            .write()
            .replace("# - {", "- {")
            .replace("    # - version", "    - version")
            .replace("    #   ", "      ")
            .replace("  # alsoUses:\n  #   -", "  alsoUses:\n    -")
            .replace("# images", "images")
            .replace("  # strategy:", "  strategy:")
            .replace("  # dataLoss:", "  dataLoss:")
            .replace("  # limits:", "  limits:")
            .replace("# layout:", "layout:")
            .replace("# ledger:", "ledger:")
            .replace("# appRoles:", "appRoles:")
            .replace("# migrations:", "migrations:");
        let app = AppFile::parse(&taken, "stepback.yaml").unwrap_or_else(|errors| panic!("{errors}\n{taken}"));
        assert!(app.releases.iter().all(|release| !release.images.is_empty()), "{taken}");
        assert_eq!((app.workloads.len(), app.also_uses.len(), app.probes.len()), (1, 1, 1));
    }
}

#[test]
fn of_several_workloads_somebody_chooses() {
    let mut several = found();
    let mut other = shop();
    other.name = "queue".into();
    several.workloads.push(other.clone());
    assert_eq!(parse(&several).workloads.len(), 0);
    assert!(
        several
            .write()
            .contains("# - { kind: StatefulSet, namespace: production, name: queue }")
    );
    // A Deployment beside one StatefulSet is no choice.
    several.workloads[1].kind = "Deployment".into();
    assert_eq!(parse(&several).workloads[0].name, "shop");
}

#[test]
fn a_tag_is_a_release() {
    for (image, release) in [
        ("shop:1.3.0", Some("1.3.0")),
        ("registry.example:5000/a/shop:v1.3.0-rc.1@sha256:00", Some("1.3.0-rc.1")),
        ("registry.example:5000/shop", None),
        ("shop:latest", None),
        ("shop", None),
    ] {
        assert_eq!(
            release_of(image).map(|found| found.to_string()).as_deref(),
            release,
            "{image}"
        );
    }
}

proptest! {
    #[test]
    fn whatever_was_found_can_be_read(
        texts in prop::collection::vec("\\PC{0,40}|[\\x00-\\x7f\\u{85}\\u{2028}\\u{feff}]{0,12}", 7),
        images in prop::collection::btree_map("\\PC{1,12}|null|1\\.0", "[a-z:.0-9@/]{1,20}|true|[!-~]{1,8}", 0..3),
        several in any::<bool>(),
    ) {
        let workload = DraftWorkload {
            kind: "StatefulSet".into(),
            namespace: "production".into(),
            name: "yes".into(),
            images,
            http: Some((format!("/{}", texts[0]), 80, true)),
        };
        let mut workloads = vec![workload];
        if several {
            workloads.push(shop());
        }
        let folder = Some(texts[4].clone()).filter(|folder| !folder.is_empty());
        let draft = Draft {
            name: texts[1].clone(),
            url: None,
            database: texts[2].clone(),
            ledger: Some(texts[3].clone()),
            folder: folder.clone(),
            migrations: texts[5].clone(),
            newest: Some(Version::parse("1").unwrap()),
            cluster: texts[6].clone(),
            workloads,
            releases: BTreeMap::new(),
        };
        let text = draft.write();
        let app = AppFile::parse(&text, "a").map_err(|errors| TestCaseError::fail(format!("{errors}\n{text}")))?;
        prop_assert_eq!(app.database.url, UrlSource::Env("DATABASE_URL".into()));
        prop_assert_eq!(app.database.migrations, folder.unwrap_or("migrations".into()));
    }
}
