//! The scene of every case: a shop that came from an older release to 1.3.0, on a cluster and a database of its own.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

use hyper::Method;
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{Namespace, Pod, Service},
};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    runtime::wait::await_condition,
};
use serde_json::{Value, from_value, json};
use stepback_sandbox::{
    ControllerOptions, Controllers,
    api::{ApiServer, Options},
    kubelet::KubeletOptions,
    start_controllers,
};
use tokio::time::timeout;

use super::{
    mutated::Mutation,
    program::Credentials,
    store::{Engine, Store},
};
use crate::support::{
    cluster::{Cluster, Kind, LentNamespace},
    controlplane::connect,
    runner::{NotPassed, fail, root},
    scene::is_ready,
    shop::{ask, program},
};

/// How long the shop may take to open.
const OPENING: Duration = Duration::from_secs(60);

/// The shop's releases and the migration that each of them ends with.
const RELEASES: [(&str, &str); 4] = [
    ("1.1.0", "20240101090000"),
    ("1.2.0", "20240115120000"),
    ("1.3.0", "20240301090000"),
    (INDEXED.0, "20240401090000"),
];

/// A release that differs from 1.3.0 in an index: each runs on the other's schema.
pub const INDEXED: (&str, &str) = ("1.3.1", "next/shop:1.3.0");

/// Its migration, up and down.
const INDEX: [&str; 2] = [
    "CREATE INDEX orders_customer ON orders (customer);\n",
    "DROP INDEX orders_customer;\n",
];

/// What a run could touch in a namespace.
const TOUCHED: [(&str, &str); 11] = [
    ("/api/v1", "pods"),
    ("/api/v1", "configmaps"),
    ("/api/v1", "secrets"),
    ("/api/v1", "services"),
    ("/api/v1", "serviceaccounts"),
    ("/api/v1", "persistentvolumeclaims"),
    ("/apis/apps/v1", "statefulsets"),
    ("/apis/apps/v1", "controllerrevisions"),
    ("/apis/autoscaling/v2", "horizontalpodautoscalers"),
    ("/apis/coordination.k8s.io/v1", "leases"),
    ("/apis/policy/v1", "poddisruptionbudgets"),
];

/// What a case's shop is to be.
#[derive(Clone)]
pub struct Setting {
    pub engine: Engine,
    /// Our own sandbox, or a cluster that is shared.
    pub kind: Kind,
    pub replicas: i32,
    /// The release that it was before it was upgraded.
    pub from: &'static str,
    /// Merged into the StatefulSet's `spec`.
    pub spec: Value,
    /// Put into the app file's `spec`.
    pub app: &'static str,
    /// Done to the text of the app file.
    pub edit: fn(&str) -> String,
    /// The release that it is upgraded to, and its image.
    pub newest: (&'static str, &'static str),
    /// How many of the kubelet's seconds a pod is not even asked whether it is ready.
    pub delay: u32,
    /// Whether each down writes down that it ran, into a table `audit` that no migration makes.
    pub audited: bool,
    /// What the cluster does to every new pod.
    pub mutation: Option<Mutation>,
}

impl Setting {
    pub fn new(engine: Engine, kind: Kind, from: &'static str) -> Self {
        Setting {
            engine,
            kind,
            replicas: 3,
            from,
            spec: json!({}),
            app: "",
            edit: str::to_owned,
            newest: ("1.3.0", "shop:1.3.0"),
            delay: 0,
            audited: false,
            mutation: None,
        }
    }

    /// The name of the pod with this index, counted from 0.
    pub fn pod(&self, index: i32) -> String {
        let start = self.spec["ordinals"]["start"].as_i64().unwrap_or(0);
        format!("shop-{}", start + i64::from(index))
    }
}

/// What runs the cluster.
enum Ground {
    Own {
        server: ApiServer,
        _controllers: Controllers,
    },
    Shared {
        _lent: LentNamespace,
    },
}

pub struct Stage {
    pub setting: Setting,
    pub store: Store,
    pub credentials: Credentials,
    pub namespace: String,
    pub client: Client,
    pub sets: Api<StatefulSet>,
    pub pods: Api<Pod>,
    /// The name of the older release's revision.
    pub old_revision: String,
    dir: PathBuf,
    ground: Ground,
}

impl Stage {
    /// Sets the scene: schema at its newest, the shop open at 1.3.0, no order placed.
    pub async fn set(setting: Setting, dir: &Path, hint: &str) -> Result<Stage, NotPassed> {
        Self::set_with(setting, dir, hint, |_| Ok(())).await
    }

    /// The same, once something has been done to the folder of 1.3.0.
    pub async fn set_with(
        setting: Setting,
        dir: &Path,
        hint: &str,
        prepare: fn(&Path) -> Result<(), std::io::Error>,
    ) -> Result<Stage, NotPassed> {
        let store = Store::make(setting.engine, dir, hint).await?;
        let (ground, kubeconfig, namespace) = match setting.kind {
            Kind::Sandbox => {
                let server = ApiServer::start(Options {
                    pod_mutations: setting.mutation.map(Mutation::of_pods).into_iter().collect(),
                    ..Options::default()
                })
                .await?;
                let kubeconfig = dir.join("kubeconfig");
                fs::write(&kubeconfig, server.kubeconfig_yaml("shop"))?;
                let mut kubelet = KubeletOptions::new(program());
                kubelet.second = Duration::from_millis(100);
                kubelet.server_secret = Some(server.secret().clone());
                let options = ControllerOptions {
                    statefulset: true,
                    kubelet: Some(kubelet),
                };
                let client = Client::try_from(server.client_config())?;
                let namespace: Namespace = from_value(json!({ "metadata": { "name": "shop" } }))?;
                Api::all(client.clone())
                    .create(&PostParams::default(), &namespace)
                    .await?;
                let controllers = start_controllers(&client, options);
                let ground = Ground::Own {
                    server,
                    _controllers: controllers,
                };
                (ground, kubeconfig, "shop".to_owned())
            }
            kind => {
                let cluster = Cluster::shared(kind).await?;
                let lent = cluster
                    .fresh_namespace(hint.rsplit("::").next().unwrap_or(hint))
                    .await?;
                let namespace = lent.to_owned();
                let ground = Ground::Shared { _lent: lent };
                (ground, cluster.kubeconfig().to_owned(), namespace)
            }
        };
        let client = connect(&kubeconfig).await?;
        if let (Some(mutation), Ground::Shared { .. }) = (setting.mutation, &ground) {
            mutation.begin(&client, &namespace).await?;
        }
        let credentials = Credentials {
            kubeconfig,
            database: store.url.clone(),
        };
        let mut stage = Stage {
            sets: Api::namespaced(client.clone(), &namespace),
            pods: Api::namespaced(client.clone(), &namespace),
            dir: dir.to_owned(),
            old_revision: String::new(),
            setting,
            store,
            credentials,
            namespace,
            client,
            ground,
        };
        stage.write_folders()?;
        let newest = stage.folder(stage.setting.newest.0);
        prepare(&newest)?;
        if stage.setting.audited {
            stage.store.run("CREATE TABLE audit (what text NOT NULL)").await?;
        }
        stage.credentials.run(0, &newest, "migrate up --yes").await?;
        stage.open().await?;
        Ok(stage)
    }

    /// The sandbox of this case's own.
    pub fn server(&self) -> &ApiServer {
        match &self.ground {
            Ground::Own { server, .. } => server,
            Ground::Shared { .. } => panic!("this case has no sandbox of its own"),
        }
    }

    /// Everything that the cluster holds of this case: all of its own sandbox, or of its namespace what a run could touch.
    pub async fn objects(&self) -> Result<Vec<Value>, NotPassed> {
        if let Ground::Own { server, .. } = &self.ground {
            return Ok(serde_json::from_str(&server.dump())?);
        }
        let mut objects = Vec::new();
        for (group, resource) in TOUCHED {
            let path = format!("{group}/namespaces/{}/{resource}", self.namespace);
            let listed: Value = self.client.request(http::Request::get(path).body(Vec::new())?).await?;
            objects.extend(listed["items"].as_array().cloned().unwrap_or_default());
        }
        Ok(objects)
    }

    /// The folder of a release: its app file, and the migrations that it knew.
    pub fn folder(&self, release: &str) -> PathBuf {
        self.dir.join(release)
    }

    /// A folder with nothing in it.
    pub fn empty_folder(&self) -> PathBuf {
        self.dir.join("elsewhere")
    }

    fn write_folders(&self) -> Result<(), NotPassed> {
        let files = root().join("testdata/apps/shop");
        let app = fs::read_to_string(files.join("stepback.yaml"))?
            .replace("namespace: shop", &format!("namespace: {}", self.namespace))
            .replace("period: 200ms", "period: 50ms");
        let app = (self.setting.edit)(&app);
        let last = RELEASES
            .iter()
            .position(|(release, _)| *release == self.setting.newest.0);
        for (release, newest) in &RELEASES[..=last.unwrap_or(0)] {
            let folder = self.folder(release);
            fs::create_dir_all(folder.join("migrations"))?;
            fs::write(folder.join("stepback.yaml"), format!("{app}{}", self.setting.app))?;
            for entry in fs::read_dir(files.join("migrations"))? {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let mut text = fs::read_to_string(entry.path())?;
                let version = &name[..newest.len()];
                if self.setting.audited && name.ends_with(".down.sql") {
                    text.push_str(&format!("INSERT INTO audit VALUES ('down {version}');\n"));
                }
                if version <= *newest {
                    fs::write(folder.join("migrations").join(&name), text)?;
                }
            }
            if *release == INDEXED.0 {
                let [up, down] = INDEX;
                fs::write(folder.join("migrations/20240401090000_index_customers.up.sql"), up)?;
                fs::write(folder.join("migrations/20240401090000_index_customers.down.sql"), down)?;
            }
        }
        fs::create_dir(self.empty_folder())?;
        Ok(())
    }

    async fn open(&mut self) -> Result<(), NotPassed> {
        let (service, set) = self.manifests()?;
        Api::<Service>::namespaced(self.client.clone(), &self.namespace)
            .create(&PostParams::default(), &service)
            .await?;
        self.sets.create(&PostParams::default(), &set).await?;
        let status = |set: Option<&StatefulSet>| set.and_then(|set| set.status.clone()).unwrap_or_default();
        let seen = timeout(
            OPENING,
            await_condition(self.sets.clone(), "shop", |set: Option<&StatefulSet>| {
                status(set).update_revision.is_some() && status(set).observed_generation >= Some(1)
            }),
        );
        let seen = seen.await??.and_then(|set| set.status?.update_revision);
        self.old_revision = seen.unwrap_or_default();
        let replicas = self.setting.replicas;
        let mut template = serde_json::to_value(&set.spec.template)?;
        template["spec"]["containers"][0]["image"] = json!(self.setting.newest.1);
        let upgrade = json!({ "spec": { "replicas": replicas, "template": template } });
        self.sets
            .patch("shop", &PatchParams::default(), &Patch::Merge(upgrade))
            .await?;
        let opened = await_condition(self.sets.clone(), "shop", |set: Option<&StatefulSet>| {
            let status = status(set);
            status.available_replicas == Some(replicas)
                && status.updated_replicas == Some(replicas)
                && status.current_revision == status.update_revision
        });
        let delays = Duration::from_millis(100) * self.setting.delay * replicas.unsigned_abs();
        match timeout(OPENING + delays, opened).await {
            Ok(opened) => opened?,
            Err(_) => {
                return fail(format_args!(
                    "the shop did not open: {:#?}",
                    self.sets.get("shop").await?.status
                ));
            }
        };
        Ok(())
    }

    fn manifests(&self) -> Result<(Service, StatefulSet), NotPassed> {
        let file = root().join("testdata/apps/shop/statefulset.yaml");
        let text = fs::read_to_string(file)?
            .replace("namespace: shop", &format!("namespace: {}", self.namespace))
            .replace("sqlite://shop.db", &self.store.url)
            .replace("shop:1.3.0", &format!("shop:{}", self.setting.from));
        let mut documents = text.split("\n---\n");
        let mut next = || {
            documents
                .next()
                .expect("statefulset.yaml holds a Service and a StatefulSet")
        };
        let service = serde_saphyr::from_str(next())?;
        let mut set: Value = serde_saphyr::from_str(next())?;
        set["spec"]["replicas"] = json!(0);
        set["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]["initialDelaySeconds"] =
            json!(self.setting.delay);
        for (key, value) in self.setting.spec.as_object().expect("what is merged is an object") {
            set["spec"][key] = value.clone();
        }
        Ok((service, from_value(set)?))
    }

    /// Places an order with the first pod, which is of the newest release.
    pub async fn order(&self, product: &str, quantity: u32, customer: &str, paid: u32) -> Result<(), NotPassed> {
        let order = json!({ "item": product, "quantity": quantity, "customer": customer, "paid": paid });
        let (status, body) = ask(
            self.address(&self.setting.pod(0)).await?,
            Method::POST,
            "/orders",
            order,
        )
        .await?;
        assert_eq!(status, 201, "{body}");
        Ok(())
    }

    /// Sends a merge patch of the StatefulSet.
    pub async fn patch(&self, patch: Value) -> Result<(), NotPassed> {
        let params = PatchParams::default();
        self.sets.patch("shop", &params, &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Makes pods broken, whatever their place: they come back from a template with this image, and are not ready. The
    /// update strategy is `then` afterwards.
    pub async fn break_pods(&self, image: &str, indexes: &[i32], then: Value) -> Result<(), NotPassed> {
        self.patch(json!({ "spec": { "updateStrategy": { "type": "OnDelete", "rollingUpdate": null } } }))
            .await?;
        let before = self.sets.get("shop").await?.spec.template;
        self.set_image(image).await?;
        for index in indexes {
            self.replace_pod(&self.setting.pod(*index), |pod| !is_ready(pod))
                .await?;
        }
        if !image.ends_with("-bad") {
            // Another release: the upgrade away from it is under way again, and stuck.
            self.patch(json!({ "spec": { "template": before } })).await?;
        }
        self.patch(json!({ "spec": { "updateStrategy": then } })).await?;
        // Else the plan is made of a revision that the controller is about to leave.
        self.until_seen().await
    }

    /// Gives the template another image, and waits until the controller has seen it.
    pub async fn set_image(&self, image: &str) -> Result<(), NotPassed> {
        let mut template = serde_json::to_value(self.sets.get("shop").await?.spec.template)?;
        template["spec"]["containers"][0]["image"] = json!(image);
        self.patch(json!({ "spec": { "template": template } })).await?;
        self.until_seen().await
    }

    /// Waits until the controller has seen the set as it is.
    pub async fn until_seen(&self) -> Result<(), NotPassed> {
        let seen = await_condition(self.sets.clone(), "shop", |set: Option<&StatefulSet>| {
            set.is_some_and(|set| {
                set.status.as_ref().and_then(|status| status.observed_generation) >= set.metadata.generation
            })
        });
        timeout(OPENING, seen).await??;
        Ok(())
    }

    /// Deletes a pod and waits for the one that comes in its place.
    pub async fn replace_pod(&self, pod: &str, is: fn(&Pod) -> bool) -> Result<(), NotPassed> {
        let uid = self.pods.get(pod).await?.metadata.uid;
        self.pods.delete(pod, &DeleteParams::default()).await?;
        let came = await_condition(self.pods.clone(), pod, move |pod: Option<&Pod>| {
            pod.is_some_and(|pod| pod.metadata.uid != uid && is(pod))
        });
        timeout(OPENING, came).await??;
        Ok(())
    }

    /// Where a pod listens.
    pub async fn address(&self, pod: &str) -> Result<Ipv4Addr, NotPassed> {
        let pod = self.pods.get(pod).await?;
        match pod.status.and_then(|status| status.pod_ip) {
            Some(address) => Ok(address.parse()?),
            None => fail("the pod has no address"),
        }
    }
}
