//! The run that the tests tell: its plan and its journal.

use super::*;

pub(super) const PAYMENTS_DOWN: &str = "-- what add_payments made\nDROP TABLE payments;\n";

pub(super) fn version(text: &str) -> Version {
    Version::parse(text).unwrap()
}

pub(super) fn target(release: &str, schema: &[&str]) -> Target {
    Target {
        release: Some(release.parse().unwrap()),
        schema: schema.iter().map(|text| version(text)).collect::<MigrationSet>(),
    }
}

pub(super) fn down(text: &str, name: &str, body: &str) -> ScriptRef {
    ScriptRef {
        migration: MigrationId {
            version: version(text),
            name: name.into(),
        },
        direction: Direction::Down,
        sha256: Digest::of(body.as_bytes()),
        up_sha256: Digest::of(b"up"),
    }
}

pub(super) fn plan() -> Plan {
    let workload = WorkloadRef {
        kind: WorkloadKind::StatefulSet,
        namespace: "production".into(),
        name: "shop".into(),
    };
    let template = |tag: &str| TemplateRef {
        revision: None,
        images: BTreeMap::from([("shop".to_owned(), format!("shop:{tag}"))]),
    };
    let uid = String::from("u1");
    let scale = |from, to| Action::Scale {
        workload: workload.clone(),
        uid: uid.clone(),
        from,
        to,
        original: 1,
    };
    let healthy = Gate::PodHealthy {
        workload: workload.clone(),
        pod: "shop-0".into(),
        template: template("1.2.0"),
        rewritten: BTreeMap::new(),
        min_ready_seconds: 5,
        probes: vec![Probe {
            ask: Ask::Http {
                path: "/healthz".into(),
                port: 8080,
            },
            successes: 3,
            period_ms: 1000,
            timeout_ms: 120_000,
        }],
    };
    let steps = [
        (
            scale(1, 0),
            Gate::PodGone {
                workload: workload.clone(),
                pod: "shop-0".into(),
            },
        ),
        (
            Action::Revert {
                scripts: vec![
                    down("20240301090000", "add_payments", PAYMENTS_DOWN),
                    down("20240220103000", "rename_item_to_product", "x"),
                ],
                accept_loss: true,
            },
            Gate::None,
        ),
        (
            Action::Repoint {
                workload: workload.clone(),
                uid: uid.clone(),
                from: template("1.3.0"),
                to: template("1.2.0"),
            },
            Gate::Repointed {
                workload: workload.clone(),
                to: template("1.2.0"),
            },
        ),
        (scale(0, 1), healthy),
    ];
    Plan {
        format: crate::plan::FORMAT,
        id: PlanId(Digest::of(b"plan")),
        title: "rollback 1.3.0 -> 1.2.0".into(),
        app: Some("shop".into()),
        from: target("1.3.0", &["20240115120000", "20240220103000", "20240301090000"]),
        to: target("1.2.0", &["20240115120000"]),
        strategy: Some(ChosenStrategy {
            strategy: Strategy::Offline,
            reason: "release 1.2.0 does not accept schema 20240301090000, and 1.3.0 does not accept 20240115120000"
                .into(),
            outage: "nothing answers from step 1, when the last pod stops, until the first is healthy in step 5".into(),
        }),
        database: DatabaseRef {
            engine: Engine::Postgres,
            source: UrlSource::Env("DATABASE_URL".into()),
            redacted: "postgres://shop@db/shop".into(),
            state_schema: "stepback".into(),
            ledger: LedgerRef {
                table: "stepback.ledger".into(),
                ..LedgerRef::default()
            },
            identity: DatabaseIdentity::default(),
        },
        cluster: Some(ClusterRef {
            uid: "c1".into(),
            namespace: "production".into(),
            place: Some(ClusterPlace {
                context: Some("prod-eu".into()),
                server: "https://10.0.0.1:6443".into(),
            }),
        }),
        journal: JournalPlace::Cluster("production".into()),
        world: BTreeMap::new(),
        steps: (1..)
            .zip(steps)
            .map(|(number, (action, gate))| Step {
                id: StepId(number),
                action,
                gate,
                limit_ms: 300_000,
            })
            .collect(),
        findings: vec![Finding::warning(
            "fingerprint-unknown",
            "schema",
            "no fingerprint was recorded when this schema was last current, so the result cannot be compared",
            "apply migrations with stepback from now on",
        )],
        unready: vec![],
        outdated: BTreeMap::new(),
        rewritten: BTreeMap::new(),
        turns_back: false,
        limits: RunLimits::default(),
    }
}

pub(super) fn entries() -> Vec<Entry> {
    let by = |host: &str| By {
        user: "ada".into(),
        host: host.into(),
        process: 7,
        program: "stepback 0.1.0".into(),
    };
    let step = StepId;
    let seen = |text: &str| text.to_owned();
    let what = [
        (
            0,
            What::RunOpened {
                run: RunId("01J8".into()),
                plan: plan().id,
                by: by("laptop"),
                aborts: None,
            },
        ),
        (
            100,
            What::StepStarted {
                step: step(1),
                attempt: 1,
            },
        ),
        (
            300,
            What::StepApplied {
                step: step(1),
                seen: seen("0 replicas are wanted"),
            },
        ),
        (
            2_300,
            What::StepPassed {
                step: step(1),
                seen: seen("shop-0 is gone"),
            },
        ),
        (
            2_400,
            What::StepStarted {
                step: step(2),
                attempt: 1,
            },
        ),
        (
            2_500,
            What::StepStarted {
                step: step(2),
                attempt: 2,
            },
        ),
        (
            2_700,
            What::RunHalted {
                halt: Halt {
                    step: Some(step(2)),
                    kind: HaltKind::Failed,
                    message: "20240301090000_add_payments failed: table payments is locked by pid 4711 (report, 31 s)"
                        .into(),
                    hint: Some("end that session, then resume".into()),
                    evidence: None,
                },
            },
        ),
        (
            62_700,
            What::RunResumed {
                by: by("pod-x"),
                rebound: None,
                dead: Vec::new(),
            },
        ),
        (
            62_800,
            What::StepStarted {
                step: step(2),
                attempt: 3,
            },
        ),
        (
            62_900,
            What::StepApplied {
                step: step(2),
                seen: seen("2 of 2 in the ledger"),
            },
        ),
        (
            62_901,
            What::StepPassed {
                step: step(2),
                seen: seen("no gate"),
            },
        ),
        (
            63_000,
            What::StepStarted {
                step: step(3),
                attempt: 1,
            },
        ),
        (
            63_100,
            What::StepApplied {
                step: step(3),
                seen: seen("the template is shop:1.2.0"),
            },
        ),
        (
            63_200,
            What::StepPassed {
                step: step(3),
                seen: seen("the controller has seen it"),
            },
        ),
        (
            63_300,
            What::StepStarted {
                step: step(4),
                attempt: 1,
            },
        ),
        (
            63_400,
            What::StepApplied {
                step: step(4),
                seen: seen("1 replica is wanted"),
            },
        ),
        (
            71_300,
            What::StepPassed {
                step: step(4),
                seen: seen("shop-0 is ready, 1 probe passed"),
            },
        ),
        (71_400, What::RunClosed { outcome: Outcome::Done }),
    ];
    let start: jiff::Timestamp = "2026-03-04T03:00:00Z".parse().unwrap();
    (1..)
        .zip(what)
        .map(|(sequence, (ms, what))| Entry {
            format: FORMAT,
            sequence,
            at: start + jiff::SignedDuration::from_millis(ms),
            token: Token { number: 1, nonce: 0 },
            previous: String::new(),
            what,
        })
        .collect()
}
