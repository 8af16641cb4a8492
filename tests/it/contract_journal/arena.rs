//! Places with nothing in them, and what is appended there.

use std::{collections::BTreeMap, fs, io::Write, path::PathBuf, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams},
};
use serde_json::json;
use stepback::{
    cluster::KubeCluster,
    database::{self, Database, LeaseRequest},
    journal::{ClusterJournal, DatabaseJournal, FileJournal, Journal, JournalError},
};
use stepback_core::{
    journal::{By, Entry, FORMAT, What},
    model::{
        DatabaseIdentity, DatabaseRef, Digest, Engine, JournalPlace, LedgerRef, MigrationSet, PlanId, RunId, StepId,
        Target, Token, UrlSource,
    },
    plan::{self, Plan, RunLimits},
};
use stepback_sandbox::api::{ApiServer, Options};

use crate::support::{
    cluster::{Cluster, Kind, LentNamespace},
    runner::{Ctx, NotPassed, Outcome},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    File,
    Sandbox,
    Real,
    Sqlite,
}

impl Place {
    pub fn name(self) -> &'static str {
        match self {
            Place::File => "file",
            Place::Sandbox => "sandbox",
            Place::Real => "real",
            Place::Sqlite => "sqlite",
        }
    }
}

/// A place with nothing in it.
pub enum Arena {
    File(PathBuf),
    Cluster {
        client: Client,
        namespace: String,
        server: Option<ApiServer>,
        _lent: Option<LentNamespace>,
    },
    Sqlite {
        database: Arc<dyn Database>,
        token: Token,
        path: PathBuf,
    },
}

impl Arena {
    pub async fn start(place: Place, ctx: &Ctx) -> Result<Self, NotPassed> {
        Ok(match place {
            Place::File => Arena::File(ctx.fresh_file("journal.jsonl")),
            Place::Sandbox => {
                let server = ApiServer::start(Options::default()).await?;
                let mut config = server.client_config();
                config.default_retry = false;
                Arena::Cluster {
                    client: Client::try_from(config)?,
                    namespace: "default".to_owned(),
                    server: Some(server),
                    _lent: None,
                }
            }
            Place::Real => {
                let cluster = Cluster::shared(Kind::Real).await?;
                let lent = cluster.fresh_namespace("journal").await?;
                Arena::Cluster {
                    client: cluster.client().await?,
                    namespace: lent.to_owned(),
                    server: None,
                    _lent: Some(lent),
                }
            }
            Place::Sqlite => {
                let path = ctx.fresh_file("shop.db");
                let url = format!("sqlite://{}", path.display());
                let options = database::ConnectOptions {
                    source: UrlSource::Url(url.clone()),
                    state_schema: "stepback".to_owned(),
                    ledger: database::LedgerChoice::Auto,
                    lock_wait: Duration::from_secs(5),
                    statement: Duration::from_secs(60),
                    step: Duration::from_secs(60),
                    create: true,
                    by: "tests".to_owned(),
                };
                let database: Arc<dyn Database> = database::connect(&url, options)?.into();
                database.prepare().await?;
                let request = LeaseRequest {
                    holder: "tests".to_owned(),
                    life: Duration::from_secs(60),
                    wait: Duration::from_secs(5),
                    above: 0,
                };
                let token = database.acquire(&request).await?;
                Arena::Sqlite { database, token, path }
            }
        })
    }

    /// A journal that knows nothing yet of what others have written.
    pub fn journal(&self) -> Box<dyn Journal> {
        match self {
            Arena::File(path) => Box::new(FileJournal::new(path)),
            Arena::Cluster { .. } => Box::new(self.in_cluster()),
            Arena::Sqlite { database, .. } => Box::new(DatabaseJournal::new(Arc::clone(database))),
        }
    }

    pub fn in_cluster(&self) -> ClusterJournal {
        let Arena::Cluster { client, namespace, .. } = self else {
            panic!("this law is for clusters");
        };
        ClusterJournal::new(client.clone(), namespace)
    }

    /// A journal of a cluster whose requests may take so long.
    pub fn impatient(&self, request: Duration) -> ClusterJournal {
        let Arena::Cluster { client, namespace, .. } = self else {
            panic!("this law is for clusters");
        };
        let cluster = KubeCluster::with_limit(client.clone(), namespace, request);
        ClusterJournal::new(cluster.client(), namespace)
    }

    pub fn maps(&self) -> Api<ConfigMap> {
        let Arena::Cluster { client, namespace, .. } = self else {
            panic!("this law is for clusters");
        };
        Api::namespaced(client.clone(), namespace)
    }

    pub fn server(&self) -> &ApiServer {
        match self {
            Arena::Cluster {
                server: Some(server), ..
            } => server,
            _ => panic!("this law is for the sandbox"),
        }
    }

    pub fn file(&self) -> &PathBuf {
        match self {
            Arena::File(path) => path,
            _ => panic!("this law is for files"),
        }
    }

    /// The token that may write here.
    pub fn token(&self) -> Token {
        match self {
            Arena::Sqlite { token, .. } => *token,
            _ => Token { number: 1, nonce: 7 },
        }
    }

    pub fn story(&self, run: &str) -> Story {
        Story {
            run: RunId(run.to_owned()),
            plan: plan_of(run),
            entries: vec![],
            token: self.token(),
        }
    }

    /// Replaces the stored plan by another one, as somebody who may edit it could; its id stays.
    pub async fn forge(&self, story: &Story) -> Result<(), NotPassed> {
        let forged = Plan {
            title: "forged".to_owned(),
            ..story.plan.clone()
        };
        match self {
            Arena::File(path) => {
                // With a right checksum of the line: whoever forges it can make one.
                let json = serde_json::to_string(&json!({ "v": 1, "run": story.run, "plan": forged }))?;
                let hash = Digest::of(json.as_bytes()).to_string();
                fs::write(path, format!("{} {json}\n", &hash[..16]))?;
            }
            Arena::Cluster { .. } => {
                // Immutable objects cannot be changed, but deleted and made anew.
                let maps = self.maps();
                let listed = maps.list(&ListParams::default()).await?;
                let mut part = listed
                    .items
                    .into_iter()
                    .find(|map| {
                        map.metadata
                            .name
                            .as_deref()
                            .is_some_and(|name| name.ends_with("-plan-0"))
                    })
                    .ok_or_else(|| NotPassed::Failed("there is no plan".to_owned()))?;
                let name = part.metadata.name.clone().unwrap();
                maps.delete(&name, &DeleteParams::default()).await?;
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(&forged.to_json()?)?;
                let bytes = k8s_openapi::ByteString(encoder.finish()?);
                part.binary_data
                    .iter_mut()
                    .flatten()
                    .for_each(|(_, data)| *data = bytes.clone());
                part.metadata.resource_version = None;
                part.metadata.uid = None;
                maps.create(&Default::default(), &part).await?;
            }
            Arena::Sqlite { database, token, path } => {
                let script = "DELETE FROM stepback_plan";
                use sqlx::{ConnectOptions as _, Connection as _};
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
                let mut connection = options.connect().await?;
                sqlx::query(script).execute(&mut connection).await?;
                connection.close().await?;
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(&forged.to_json()?)?;
                database.write_plan(*token, &story.run, &encoder.finish()?).await?;
            }
        }
        Ok(())
    }
}

/// A plan without steps, complete with its id.
pub fn plan_of(title: &str) -> Plan {
    let target = || Target {
        release: None,
        schema: MigrationSet::default(),
    };
    with_id(Plan {
        format: plan::FORMAT,
        id: PlanId(Digest::of("")),
        title: title.to_owned(),
        app: Some("shop".to_owned()),
        from: target(),
        to: target(),
        strategy: None,
        database: DatabaseRef {
            engine: Engine::Sqlite,
            source: UrlSource::Env("DATABASE_URL".to_owned()),
            redacted: "sqlite://shop.db".to_owned(),
            state_schema: "stepback".to_owned(),
            ledger: LedgerRef::default(),
            identity: DatabaseIdentity::default(),
        },
        cluster: None,
        journal: JournalPlace::Database,
        world: BTreeMap::new(),
        steps: vec![],
        unready: vec![],
        outdated: BTreeMap::new(),
        rewritten: BTreeMap::new(),
        turns_back: false,
        findings: vec![],
        limits: RunLimits::default(),
    })
}

pub fn with_id(mut plan: Plan) -> Plan {
    plan.id = plan.compute_id().unwrap();
    plan
}

/// What is appended to one run, in order.
#[derive(Clone)]
pub struct Story {
    pub run: RunId,
    pub plan: Plan,
    pub entries: Vec<Entry>,
    pub token: Token,
}

impl Story {
    pub fn opened(&self) -> What {
        What::RunOpened {
            run: self.run.clone(),
            plan: self.plan.id,
            by: by(),
            aborts: None,
        }
    }

    /// The entry that would come next.
    pub fn next(&self, what: What) -> Entry {
        Entry {
            format: FORMAT,
            sequence: self.entries.len() as u64 + 1,
            at: Timestamp::UNIX_EPOCH,
            token: self.token,
            previous: self.entries.last().map(Entry::hash).unwrap_or_default(),
            what,
        }
    }

    pub async fn append(&mut self, journal: &dyn Journal, what: What) -> Result<(), JournalError> {
        let entry = self.next(what);
        journal.append(&self.run, &entry).await?;
        self.entries.push(entry);
        Ok(())
    }

    /// Creates the run with `count` entries.
    pub async fn begin(&mut self, journal: &dyn Journal, count: usize) -> Result<(), JournalError> {
        journal.create(&self.run, &self.plan, self.token).await?;
        self.append(journal, self.opened()).await?;
        for number in 1..count {
            self.append(journal, seen(&format!("fact {number}"))).await?;
        }
        Ok(())
    }

    pub async fn assert_stored(&self, journal: &dyn Journal) -> Outcome {
        let stored = journal.read(&self.run).await?;
        assert_eq!(stored.plan, self.plan);
        assert_eq!(stored.entries, self.entries);
        Ok(())
    }
}

pub fn by() -> By {
    By {
        user: "u".into(),
        host: "h".into(),
        process: 1,
        program: "0".into(),
    }
}

pub fn seen(text: &str) -> What {
    What::StepPassed {
        step: StepId(1),
        seen: text.to_owned(),
    }
}

pub const RUN: &str = "01J8ZQ4M5N6P7Q8R9S0T1V2W3X";
