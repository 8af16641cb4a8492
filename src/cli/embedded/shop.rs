//! The shop of the demo and of the tests, on an embedded cluster: its manifests, its migrations, and the folders from
//! which each of its releases is worked on.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Namespace, Service};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::wait::await_condition;
use serde_json::json;

use super::Embedded;

/// The shop's app file and migrations, as the tests have them too.
const APP: &str = include_str!("../../../testdata/apps/shop/stepback.yaml");
const SET: &str = include_str!("../../../testdata/apps/shop/statefulset.yaml");

macro_rules! migration {
    ($name:literal) => {
        [
            (
                concat!($name, ".up.sql"),
                include_str!(concat!("../../../testdata/apps/shop/migrations/", $name, ".up.sql")),
            ),
            (
                concat!($name, ".down.sql"),
                include_str!(concat!("../../../testdata/apps/shop/migrations/", $name, ".down.sql")),
            ),
        ]
    };
}

/// Oldest first; release 1.2.0 has the first two.
const MIGRATIONS: [[(&str, &str); 2]; 4] = [
    migration!("20240101090000_create_orders"),
    migration!("20240115120000_add_customer"),
    migration!("20240220103000_rename_item_to_product"),
    migration!("20240301090000_create_payments"),
];

/// The namespace of the shop.
pub(in crate::cli) const NAMESPACE: &str = "shop";

/// The shop and its cluster.
pub(in crate::cli) struct Shop {
    pub(in crate::cli) cluster: Embedded,
    /// The folder of release 1.3.0, with every migration.
    pub(in crate::cli) newer: PathBuf,
    /// The folder of release 1.2.0, which has never seen the newer migrations.
    pub(in crate::cli) older: PathBuf,
}

impl Shop {
    /// Writes the folders; nothing of the shop runs yet.
    pub(in crate::cli) fn prepare(cluster: Embedded) -> anyhow::Result<Self> {
        let at = cluster.folder();
        let (newer, older) = (at.join("shop-1.3.0"), at.join("shop-1.2.0"));
        let shop = Self { newer, older, cluster };
        shop.write_release(&shop.newer, &MIGRATIONS)?;
        shop.write_release(&shop.older, &MIGRATIONS[..2])?;
        Ok(shop)
    }

    pub(in crate::cli) fn database_url(&self) -> String {
        format!("sqlite://{}", self.cluster.folder().join("shop.db").display())
    }

    fn write_release(&self, folder: &Path, migrations: &[[(&str, &str); 2]]) -> anyhow::Result<()> {
        let files = folder.join("migrations");
        std::fs::create_dir_all(&files).with_context(|| format!("making {}", files.display()))?;
        // A dead coordinator's lease ends after 2 s here, so that nobody waits long for it; 15 s is the default.
        let url = serde_json::to_string(&self.database_url())?;
        let app = APP
            .replace("{ env: DATABASE_URL }", &url)
            .replace("  dataLoss: accept\n", "  dataLoss: accept\n  limits: { lease: 2s }\n");
        std::fs::write(folder.join("stepback.yaml"), app)?;
        for (name, text) in migrations.iter().flatten() {
            std::fs::write(files.join(name), text)?;
        }
        Ok(())
    }

    /// Opens the shop as it came to be: a release 1.2.0 that was upgraded to 1.3.0, so that both revisions are kept. Its
    /// database is there.
    pub(in crate::cli) async fn open(&self) -> anyhow::Result<()> {
        let client = || self.cluster.client();
        let namespace: Namespace = serde_json::from_value(json!({ "metadata": { "name": NAMESPACE } }))?;
        Api::all(client()).create(&PostParams::default(), &namespace).await?;
        let (service, mut set) = manifests(&self.database_url())?;
        Api::<Service>::namespaced(client(), NAMESPACE)
            .create(&PostParams::default(), &service)
            .await?;
        let sets: Api<StatefulSet> = Api::namespaced(client(), NAMESPACE);
        set.spec.replicas = Some(0);
        set_image(&mut set, "shop:1.2.0");
        sets.create(&PostParams::default(), &set).await?;
        await_condition(sets.clone(), "shop", |set: Option<&StatefulSet>| {
            set.and_then(|set| set.status.as_ref()?.update_revision.as_ref())
                .is_some()
        })
        .await?;
        set_image(&mut set, "shop:1.3.0");
        let upgrade = json!({ "spec": { "replicas": 3, "template": set.spec.template } });
        sets.patch("shop", &PatchParams::default(), &Patch::Merge(upgrade))
            .await?;
        await_condition(sets, "shop", |set: Option<&StatefulSet>| {
            set.and_then(|set| set.status.as_ref()?.ready_replicas) == Some(3)
        })
        .await?;
        Ok(())
    }
}

fn set_image(set: &mut StatefulSet, image: &str) {
    if let Some(container) = set
        .spec
        .template
        .spec
        .as_mut()
        .and_then(|spec| spec.containers.first_mut())
    {
        container.image = Some(image.to_owned());
    }
}

fn manifests(database_url: &str) -> anyhow::Result<(Service, StatefulSet)> {
    let text = SET.replace("sqlite://shop.db", database_url);
    let mut documents = text.split("\n---\n");
    let mut next = || documents.next().context("statefulset.yaml has two documents");
    Ok((serde_saphyr::from_str(next()?)?, serde_saphyr::from_str(next()?)?))
}
