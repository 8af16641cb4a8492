//! Whether the target release's database server can open what the present one stored, before anything is stopped.
//!
//! The coordinator cannot read a pod's volume, so it asks the server that runs on it: its version wrote the data, or has
//! taken them over. That is compared with what the release says of itself (`engine`) and, by the guard's rule, with the
//! image that the release starts. It matters where a workload is the database server (`hostedBy`); elsewhere the server
//! stays, and the same is worth a warning only. On the volume itself `stepback guard` looks again.

use crate::appfile::{AppFile, DataEngine, Release};
use crate::guard::{Server, ServerVersion, may_follow};
use crate::model::{Engine, Finding, SeenDatabase, Severity};

/// Checks the stored data's version, where there is anything that it could be compared with.
pub(super) fn check_stored(app: &AppFile, release: &semver::Version, seen: &SeenDatabase, findings: &mut Vec<Finding>) {
    let (server, key) = match seen.database.engine {
        Engine::Postgres => (Server::Postgres, DataEngine::Postgres),
        Engine::Mysql => (Server::Mysql, DataEngine::Mysql),
        Engine::Mariadb => (Server::Mariadb, DataEngine::Mariadb),
        // The library that opens the file is the app's own, and its format has not changed since 2004.
        Engine::Sqlite => return,
    };
    let Some(target) = app.releases.iter().find(|known| known.version == *release) else {
        return;
    };
    let range = target.engine.get(&key);
    let image = app
        .database
        .hosted_by
        .as_deref()
        .and_then(|host| image_of(target, host, server));
    let hosted = app.database.hosted_by.is_some();
    if !hosted && range.is_none() {
        return;
    }
    let severity = if hosted { Severity::Refusal } else { Severity::Warning };
    let subject = format!("data of {}", seen.server_version);
    let Some(data) = version_of(server, &seen.server_version) else {
        findings.push(Finding::new(
            severity,
            "data-version-unknown",
            subject,
            "the server does not say a version that the rule of its series can be asked for",
            "compare by hand with what the release's server can open",
        ));
        return;
    };
    let subject = format!("data of {} {data}", server.title());
    if range.is_none() && image.is_none() {
        findings.push(Finding::refusal(
            "data-version-unknown",
            &subject,
            format!(
                "nothing says which stored data the server of {release} can open: the release has no `engine: {{ {}: … }}`, \
                 and no image of a known name with a version",
                server.name()
            ),
            format!("add it to the release: engine: {{ {}: \">=…, <…\" }}", server.name()),
        ));
    }
    if let Some(range) = range.filter(|range| !range.matches(&data.to_semver())) {
        findings.push(Finding::new(
            severity,
            "data-version",
            &subject,
            format!("the server of {release} opens data of {} {range} only", server.title()),
            if hosted {
                "keep the present server, or restore a backup or dump that the older one can read"
            } else {
                "the server is not part of this rollback and stays; make sure that the release works with it"
            },
        ));
    }
    if let Some((image, Err(why))) = image.map(|(image, version)| (image, may_follow(server, &data, &version))) {
        findings.push(Finding::refusal(
            "data-version",
            subject,
            format!("{image} of {release} must not open it: {why}"),
            "keep the present server, or restore a backup or dump that the older one can read",
        ));
    }
}

/// The version in what a server says of itself: `PostgreSQL 15.14 (Debian 15.14-0+deb12u1)`.
fn version_of(server: Server, text: &str) -> Option<ServerVersion> {
    text.strip_prefix(server.title())?.trim().parse().ok()
}

/// The server's image among those that the release names for the hosting workload, where its tag is a version.
fn image_of(release: &Release, host: &str, server: Server) -> Option<(String, ServerVersion)> {
    let names: &[&str] = match server {
        Server::Postgres => &["postgres", "postgresql"],
        Server::Mysql => &["mysql", "mysql-server", "percona-server", "percona"],
        Server::Mariadb => &["mariadb", "mariadb-server"],
    };
    let of_host = release.images.iter().filter(|(workload, _)| workload.as_str() == host);
    of_host
        .flat_map(|(_, containers)| containers.values())
        .find_map(|image| {
            let last = image.rsplit('/').next().unwrap_or(image);
            let (name, tag) = last.split('@').next().unwrap_or(last).split_once(':')?;
            names.contains(&name).then_some(())?;
            Some((image.clone(), server.target(tag).ok()?))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DatabaseIdentity, DatabaseRef, LedgerRef, LedgerSeen, UrlSource};

    /// The findings as `severity code`, for a PostgreSQL that says this of itself.
    fn found(hosted: bool, engine: &str, image: &str, says: &str) -> Vec<String> {
        let words = |finding: &Finding| format!("{:?} {}", finding.severity, finding.code);
        said(hosted, engine, image, says).iter().map(words).collect()
    }

    fn said(hosted: bool, engine: &str, image: &str, says: &str) -> Vec<Finding> {
        let host = if hosted { "db" } else { "null" };
        let app = AppFile::parse(
            &format!(
                "apiVersion: stepback.dev/v1\nkind: App\nmetadata: {{ name: shop }}\nspec:\n  \
                 database: {{ url: {{ env: DATABASE_URL }}, migrations: migrations, hostedBy: {host} }}\n  \
                 workloads: [{{ kind: StatefulSet, namespace: shop, name: db }}]\n  releases:\n    \
                 - {{ version: 1.2.0, schema: \"1\", images: {{ db: {{ server: \"{image}\" }} }}, engine: {{ {engine} }} }}\n"
            ),
            "stepback.yaml",
        )
        .unwrap();
        let seen = SeenDatabase {
            database: DatabaseRef {
                engine: Engine::Postgres,
                source: UrlSource::Env("DATABASE_URL".to_owned()),
                redacted: "postgres://db/shop".to_owned(),
                state_schema: "stepback".to_owned(),
                ledger: LedgerRef::default(),
                identity: DatabaseIdentity::default(),
            },
            server_version: says.to_owned(),
            ledger_table: LedgerSeen::default(),
            prepared: true,
            read_only: false,
            ledger: Vec::new(),
            archive: Vec::new(),
            releases: Vec::new(),
            fingerprints: Vec::new(),
            bound: Vec::new(),
            open_run: None,
            lease: None,
            highest_token: 0,
            missing_rights: crate::model::MissingRights::default(),
            server: crate::model::SeenServer::default(),
        };
        let mut findings = Vec::new();
        check_stored(&app, &semver::Version::new(1, 2, 0), &seen, &mut findings);
        findings
    }

    const DEBIAN: &str = "PostgreSQL 15.14 (Debian 15.14-0+deb12u1)";

    #[test]
    fn a_range_that_the_data_lie_in_is_enough() {
        assert_eq!(found(true, "postgres: \">=15, <16\"", "own:1.2.0", DEBIAN), [""; 0]);
        assert_eq!(
            found(true, "postgres: \"<15\"", "own:1.2.0", DEBIAN),
            ["Refusal data-version"]
        );
        assert_eq!(
            found(true, "mysql: \">=8\"", "own:1.2.0", DEBIAN),
            ["Refusal data-version-unknown"]
        );
    }

    #[test]
    fn the_image_is_judged_by_the_rule_of_the_series() {
        for (image, expected) in [
            ("postgres:15.3", &[][..]),
            ("registry.example:5000/library/postgres:15.3-bookworm@sha256:ab", &[]),
            ("postgres:14.9", &["Refusal data-version"]),
            ("postgres:16.1", &["Refusal data-version"]),
            // Nothing that a rule could be asked for.
            ("postgres:latest", &["Refusal data-version-unknown"]),
            ("postgres", &["Refusal data-version-unknown"]),
            ("postgres-exporter:14.9", &["Refusal data-version-unknown"]),
        ] {
            assert_eq!(found(true, "", image, DEBIAN), expected, "{image}");
        }
        // Both are asked where both are there, and all is said.
        let both = found(true, "postgres: \"<15\"", "postgres:14.9", DEBIAN);
        assert_eq!(both, ["Refusal data-version", "Refusal data-version"]);
    }

    #[test]
    fn what_is_said_names_both_versions() {
        let said = said(true, "postgres: \">=14, <15\"", "postgres:14.9", DEBIAN);
        let text = |finding: &Finding| format!("{}: {}", finding.subject, finding.message);
        assert_eq!(
            said.iter().map(text).collect::<Vec<_>>(),
            [
                "data of PostgreSQL 15.14: the server of 1.2.0 opens data of PostgreSQL >=14, <15 only",
                "data of PostgreSQL 15.14: postgres:14.9 of 1.2.0 must not open it: no major version opens the data of a \
                 newer one",
            ]
        );
    }

    #[test]
    fn a_server_that_stays_is_worth_a_warning() {
        assert_eq!(
            found(false, "postgres: \"<15\"", "postgres:14.9", DEBIAN),
            ["Warning data-version"]
        );
        assert_eq!(found(false, "postgres: \">=15\"", "postgres:14.9", DEBIAN), [""; 0]);
        assert_eq!(found(false, "", "postgres:14.9", DEBIAN), [""; 0]);
    }

    #[test]
    fn a_version_that_means_nothing_is_unknown() {
        for says in ["PostgreSQL 18beta1", "PostgreSQL", "Something 15.1"] {
            assert_eq!(
                found(true, "postgres: \">=15\"", "own:1", says),
                ["Refusal data-version-unknown"],
                "{says}"
            );
        }
    }
}
