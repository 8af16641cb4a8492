//! The plans, the worlds they start in, and the worlds they must end in, each written by hand.

use super::*;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Story {
    /// 1.3.0 to 1.2.0: three pods stopped, three downs, verified, repointed, three pods started, given back, recorded.
    Rollback,
    /// The same with one pod: short enough for every pair of calls.
    Single,
    /// As `Rollback`, but the two upper pods are broken: scaling down, the controller leaves them standing.
    Broken,
    /// 1.3.0 to 1.2.0 pod by pod, with a partition left over and the lowest pod broken; then three downs.
    Walk,
    /// A walk of one pod after the downs; its revision is not paired, as every further step costs many pairs of calls.
    SingleWalk,
    /// `migrate down`: three downs, no cluster in sight.
    Down,
    /// `migrate up`: two ups and the fingerprint.
    Up,
    /// The abort of `Single`, which halted once the pod of 1.2.0 was healthy: it is stopped again, three ups from the
    /// archive, verified, pointed back at 1.3.0, started, given back.
    Abort,
}

/// A world in plain words.
#[derive(Debug, PartialEq)]
pub struct Told {
    pub ledger: Vec<String>,
    /// What scripts did, in order.
    pub scripts: Vec<String>,
    pub replicas: i32,
    pub template: String,
    pub partition: i64,
    pub pods: Vec<String>,
    /// What happened to pods, in order.
    pub pod_history: Vec<String>,
    /// Annotations that are left on the set, and whether a field is still ours.
    pub left: Vec<String>,
    pub releases: Vec<String>,
    /// Revisions, each with the release that it was paired with.
    pub paired: Vec<String>,
    pub fingerprint_of_1_to_5: bool,
    pub run: Option<RunStatus>,
}

fn told(text: &str) -> Vec<String> {
    text.split(", ")
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

pub fn tell(world: &World) -> Told {
    let names = |rows: &[LedgerRow]| rows.iter().map(|row| row.migration.version.to_string()).collect();
    let mut left: Vec<String> = world.set.annotations.keys().cloned().collect();
    left.extend(
        world
            .set
            .pods
            .values()
            .filter_map(|pod| Some(pod.stamp.as_ref()?.to_string())),
    );
    if world.set.owned {
        left.push("managedFields".into());
    }
    Told {
        ledger: names(&world.database.ledger),
        scripts: world.database.history.clone(),
        replicas: world.set.replicas,
        template: world.set.template.clone(),
        partition: world.set.strategy["rollingUpdate"]["partition"].as_i64().unwrap_or(-1),
        pods: world
            .set
            .pods
            .values()
            .map(|pod| format!("{} {:?}", pod.revision, pod.phase))
            .collect(),
        pod_history: world.set.history.clone(),
        left,
        releases: world
            .database
            .releases
            .iter()
            .map(|(release, _)| release.to_string())
            .collect(),
        paired: world
            .set
            .paired
            .iter()
            .map(|(revision, pairing)| format!("{revision} is {}", pairing.release))
            .collect(),
        fingerprint_of_1_to_5: world
            .database
            .fingerprints
            .contains_key(&versions(&[1, 2, 3, 4, 5]).digest()),
        run: world.database.run.as_ref().map(|row| row.status),
    }
}

fn version(number: u32) -> Version {
    number.to_string().parse().unwrap()
}

fn versions(numbers: &[u32]) -> MigrationSet {
    numbers.iter().map(|number| version(*number)).collect()
}

fn migration(number: u32) -> MigrationId {
    MigrationId {
        version: version(number),
        name: String::new(),
    }
}

fn up_sha256(number: u32) -> Digest {
    Digest::of(format!("up {number}"))
}

fn scripts(direction: Direction, numbers: &[u32]) -> Vec<ScriptRef> {
    let script = |number: &u32| ScriptRef {
        migration: migration(*number),
        direction,
        sha256: Digest::of(format!("{direction:?} {number}")),
        up_sha256: up_sha256(*number),
    };
    numbers.iter().map(script).collect()
}

fn ledger(numbers: &[u32]) -> Vec<LedgerRow> {
    let row = |number: &u32| LedgerRow {
        sequence: Some(i64::from(*number)),
        migration: migration(*number),
        up_sha256: Some(up_sha256(*number)),
        up_checksum: None,
        dirty: false,
        applied_at: String::new(),
    };
    numbers.iter().map(row).collect()
}

fn template(revision: &str) -> TemplateRef {
    TemplateRef {
        revision: Some(revision.into()),
        images: BTreeMap::from([("shop".into(), objects::image(revision))]),
    }
}

fn release(version: &str) -> semver::Version {
    version.parse().unwrap()
}

fn healthy(ordinal: i32) -> Gate {
    healthy_on(ordinal, "1.2.0")
}

fn healthy_on(ordinal: i32, revision: &str) -> Gate {
    Gate::PodHealthy {
        workload: objects::workload(),
        pod: format!("shop-{ordinal}"),
        template: template(revision),
        rewritten: BTreeMap::new(),
        min_ready_seconds: 0,
        probes: vec![],
    }
}

fn scale(from: i32, to: i32) -> (Action, Gate) {
    let workload = objects::workload();
    let action = Action::Scale {
        workload: workload.clone(),
        uid: set::UID.into(),
        from,
        to,
        original: 3,
    };
    let gate = match to {
        0 => Gate::AllGone { workload },
        to if to < from => Gate::PodGone {
            workload,
            pod: format!("shop-{to}"),
        },
        to => healthy(to - 1),
    };
    (action, gate)
}

fn replace(ordinal: i32) -> (Action, Gate) {
    let action = Action::RemovePod {
        workload: objects::workload(),
        uid: set::UID.into(),
        pod: format!("shop-{ordinal}"),
        removal: Removal::Outdated(template("1.2.0")),
        stays: false,
    };
    (action, healthy(ordinal))
}

/// The update strategy of the world before the run, and the one that walks use.
fn strategies(partition: i64) -> [UpdateStrategy; 2] {
    let rolling = json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": partition } });
    [UpdateStrategy(rolling), UpdateStrategy::on_delete()]
}

/// Borrowing the update strategy, or giving it back.
fn strategy(partition: i64, borrow: bool) -> (Action, Gate) {
    let [original, ours] = strategies(partition);
    let (from, to) = if borrow {
        (original.clone(), ours)
    } else {
        (ours, original.clone())
    };
    let workload = objects::workload();
    let action = Action::UpdateStrategy {
        workload: workload.clone(),
        uid: set::UID.into(),
        from,
        to,
        original,
    };
    let gate = Gate::Settled {
        workload,
        mid_update: false,
    };
    (action, gate)
}

/// What `Single` has left where it halted behind its start: the target runs, and everything that was borrowed is marked.
fn halted(mut database: Database) -> World {
    let before = versions(&[1, 2, 3, 4, 5]);
    let fingerprint = crate::support::world::fingerprint_of(before.0.iter());
    database.fingerprints.insert(before.digest(), fingerprint);
    let token = Token { number: 3, nonce: 7 };
    database.lease = Some(token);
    database.released = true;
    let mut set = Set::running(1, "1.2.0");
    let stamp = Stamp {
        run: RunId("01J7".into()),
        step: StepId(5),
        token,
    };
    let marks = [
        (annotation::STAMP, stamp.to_string()),
        (annotation::STATE, "run 01J7 is at step 5".to_owned()),
        (annotation::ORIGINAL_REPLICAS, "1".to_owned()),
    ];
    set.annotations
        .extend(marks.map(|(name, value)| (name.to_owned(), value)));
    set.owned = true;
    World::new(database, set)
}

impl Story {
    pub const ALL: [Self; 8] = [
        Self::Rollback,
        Self::Single,
        Self::Broken,
        Self::Walk,
        Self::SingleWalk,
        Self::Down,
        Self::Up,
        Self::Abort,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Rollback => "rollback",
            Self::Single => "single",
            Self::Broken => "broken",
            Self::Walk => "walk",
            Self::SingleWalk => "single_walk",
            Self::Down => "down",
            Self::Up => "up",
            Self::Abort => "abort",
        }
    }

    /// The world before the run.
    pub fn world(self) -> World {
        let applied: &[u32] = match self {
            Self::Up => &[1, 2, 3],
            Self::Abort => &[1, 2],
            _ => &[1, 2, 3, 4, 5],
        };
        let mut database = Database {
            ledger: ledger(applied),
            pods_while_scripts_run: match self {
                Self::Rollback | Self::Single | Self::Broken | Self::Abort => Some(0),
                Self::Walk => Some(3),
                Self::SingleWalk => Some(1),
                Self::Down | Self::Up => None,
            },
            ..Database::default()
        };
        let target = versions(&[1, 2]);
        let fingerprint = crate::support::world::fingerprint_of(target.0.iter());
        database.fingerprints.insert(target.digest(), fingerprint);
        if self == Self::Abort {
            return halted(database);
        }
        let alone = matches!(self, Self::Single | Self::SingleWalk);
        let set = Set::running(if alone { 1 } else { 3 }, "1.3.0");
        let set = match self {
            Self::Broken => set.break_pod(1).break_pod(2),
            Self::Walk => set.break_pod(0).rolled_by(strategies(2)[0].0.clone()),
            _ => set,
        };
        World::new(database, set)
    }

    /// The world after it.
    pub fn expected(self) -> Told {
        let untouched = Told {
            ledger: told("1, 2"),
            scripts: told("-5, -4, -3"),
            replicas: 3,
            template: "1.3.0".into(),
            partition: 0,
            pods: told("1.3.0 Ready, 1.3.0 Ready, 1.3.0 Ready"),
            pod_history: vec![],
            left: vec![],
            releases: vec![],
            paired: vec![],
            fingerprint_of_1_to_5: false,
            run: Some(RunStatus::Closed),
        };
        match self {
            Self::Rollback | Self::Broken => Told {
                template: "1.2.0".into(),
                pods: told("1.2.0 Ready, 1.2.0 Ready, 1.2.0 Ready"),
                pod_history: told("-2, -1, -0, +0 1.2.0, +1 1.2.0, +2 1.2.0"),
                releases: told("1.2.0"),
                paired: told("1.2.0 is 1.2.0"),
                ..untouched
            },
            Self::Walk => Told {
                template: "1.2.0".into(),
                partition: 2,
                pods: told("1.2.0 Ready, 1.2.0 Ready, 1.2.0 Ready"),
                pod_history: told("-0, +0 1.2.0, -2, +2 1.2.0, -1, +1 1.2.0"),
                releases: told("1.2.0"),
                paired: told("1.2.0 is 1.2.0"),
                ..untouched
            },
            Self::Single => Told {
                replicas: 1,
                template: "1.2.0".into(),
                pods: told("1.2.0 Ready"),
                pod_history: told("-0, +0 1.2.0"),
                releases: told("1.2.0"),
                paired: told("1.2.0 is 1.2.0"),
                ..untouched
            },
            Self::SingleWalk => Told {
                replicas: 1,
                template: "1.2.0".into(),
                pods: told("1.2.0 Ready"),
                pod_history: told("-0, +0 1.2.0"),
                releases: told("1.2.0"),
                ..untouched
            },
            Self::Down => untouched,
            Self::Abort => Told {
                ledger: told("1, 2, 3, 4, 5"),
                scripts: told("+3, +4, +5"),
                replicas: 1,
                pods: told("1.3.0 Ready"),
                pod_history: told("-0, +0 1.3.0"),
                fingerprint_of_1_to_5: true,
                ..untouched
            },
            Self::Up => Told {
                ledger: told("1, 2, 3, 4, 5"),
                scripts: told("+4, +5"),
                fingerprint_of_1_to_5: true,
                ..untouched
            },
        }
    }

    /// The journal's entries of an undisturbed run: opened, three for each step, closed.
    pub fn entries(self) -> usize {
        match self {
            Self::Rollback | Self::Broken => 2 + 3 * 12,
            Self::Single => 2 + 3 * 8,
            Self::Walk => 2 + 3 * 11,
            Self::SingleWalk => 2 + 3 * 8,
            Self::Down | Self::Up => 2 + 3 * 2,
            Self::Abort => 2 + 3 * 6,
        }
    }

    /// Of the pairs of calls, one in so many is tried. The three pods of the long stories repeat what one pod does.
    pub fn stride(self) -> u32 {
        match self {
            Self::Rollback | Self::Broken | Self::Walk => 7,
            Self::Single | Self::SingleWalk | Self::Down | Self::Up | Self::Abort => 1,
        }
    }

    fn steps(self) -> Vec<(Action, Gate)> {
        let (workload, uid) = (objects::workload(), set::UID.to_owned());
        let revert = Action::Revert {
            scripts: scripts(Direction::Down, &[5, 4, 3]),
            accept_loss: true,
        };
        let verify = Action::Verify {
            schema: versions(&[1, 2]),
            expected: crate::support::world::fingerprint_of(versions(&[1, 2]).0.iter()).digest(),
            drifted: vec![],
            inherited: BTreeMap::new(),
            before: None,
        };
        let repoint = Action::Repoint {
            workload: workload.clone(),
            uid: uid.clone(),
            from: template("1.3.0"),
            to: template("1.2.0"),
        };
        let repointed = Gate::Repointed {
            workload: workload.clone(),
            to: template("1.2.0"),
        };
        let pair = Action::Pair {
            workload: workload.clone(),
            uid: uid.clone(),
            template: template("1.2.0"),
            pairing: Pairing::new("shop", release("1.2.0"), Some(&versions(&[1, 2]))),
        };
        let record = Action::RecordRelease {
            release: release("1.2.0"),
            schema: versions(&[1, 2]),
        };
        match self {
            Self::Walk => vec![
                strategy(2, true),
                (repoint, repointed),
                replace(0),
                replace(2),
                replace(1),
                strategy(2, false),
                (revert, Gate::None),
                (verify, Gate::None),
                (pair, Gate::None),
                (Action::GiveBack { workload, uid }, Gate::None),
                (record, Gate::None),
            ],
            Self::SingleWalk => vec![
                (revert, Gate::None),
                (verify, Gate::None),
                strategy(0, true),
                (repoint, repointed),
                replace(0),
                strategy(0, false),
                (Action::GiveBack { workload, uid }, Gate::None),
                (record, Gate::None),
            ],
            Self::Rollback | Self::Broken => vec![
                scale(3, 2),
                scale(2, 1),
                scale(1, 0),
                (revert, Gate::None),
                (verify, Gate::None),
                (repoint, repointed),
                scale(0, 1),
                scale(1, 2),
                scale(2, 3),
                (pair, Gate::None),
                (Action::GiveBack { workload, uid }, Gate::None),
                (record, Gate::None),
            ],
            Self::Single => vec![
                scale(1, 0),
                (revert, Gate::None),
                (verify, Gate::None),
                (repoint, repointed),
                scale(0, 1),
                (pair, Gate::None),
                (Action::GiveBack { workload, uid }, Gate::None),
                (record, Gate::None),
            ],
            Self::Down => vec![(revert, Gate::None), (verify, Gate::None)],
            Self::Abort => {
                let apply = Action::Apply {
                    scripts: scripts(Direction::Up, &[3, 4, 5]),
                };
                let all = versions(&[1, 2, 3, 4, 5]);
                let verify = Action::Verify {
                    expected: crate::support::world::fingerprint_of(all.0.iter()).digest(),
                    schema: all,
                    drifted: vec![],
                    inherited: BTreeMap::new(),
                    before: None,
                };
                let repoint = Action::Repoint {
                    workload: workload.clone(),
                    uid: uid.clone(),
                    from: template("1.2.0"),
                    to: template("1.3.0"),
                };
                let repointed = Gate::Repointed {
                    workload: workload.clone(),
                    to: template("1.3.0"),
                };
                let (start, _) = scale(0, 1);
                vec![
                    scale(1, 0),
                    (apply, Gate::None),
                    (verify, Gate::None),
                    (repoint, repointed),
                    (start, healthy_on(0, "1.3.0")),
                    (Action::GiveBack { workload, uid }, Gate::None),
                ]
            }
            Self::Up => {
                let apply = Action::Apply {
                    scripts: scripts(Direction::Up, &[4, 5]),
                };
                let take = Action::TakeFingerprint {
                    schema: versions(&[1, 2, 3, 4, 5]),
                    drifted: BTreeMap::new(),
                };
                vec![(apply, Gate::None), (take, Gate::None)]
            }
        }
    }

    pub fn plan(self) -> Plan {
        let target = |schema: &[u32]| Target {
            release: None,
            schema: versions(schema),
        };
        let (from, to) = match self {
            Self::Up => (target(&[1, 2, 3]), target(&[1, 2, 3, 4, 5])),
            Self::Abort => (target(&[1, 2]), target(&[1, 2, 3, 4, 5])),
            _ => (target(&[1, 2, 3, 4, 5]), target(&[1, 2])),
        };
        let step = |((action, gate), id)| Step {
            id: StepId(id),
            action,
            gate,
            limit_ms: 60_000,
        };
        let mut plan = Plan {
            format: FORMAT,
            id: PlanId(Digest::of("")),
            title: self.name().into(),
            app: None,
            from,
            to,
            strategy: None,
            database: DatabaseRef {
                engine: Engine::Postgres,
                source: UrlSource::Env("DATABASE_URL".into()),
                redacted: "simulated".into(),
                state_schema: "stepback".into(),
                ledger: LedgerRef::default(),
                identity: DatabaseIdentity::default(),
            },
            cluster: None,
            journal: JournalPlace::Database,
            world: BTreeMap::new(),
            steps: self.steps().into_iter().zip(1..).map(step).collect(),
            findings: vec![],
            unready: vec![],
            outdated: BTreeMap::new(),
            rewritten: BTreeMap::new(),
            turns_back: false,
            limits: RunLimits::default(),
        };
        plan.id = plan.compute_id().unwrap();
        plan
    }
}
