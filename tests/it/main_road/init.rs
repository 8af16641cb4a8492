//! `init` beside a shop that runs: the file that it writes is one that takes the shop back.

use std::fs;

use stepback_core::appfile::AppFile;

use super::{
    stage::{Setting, Stage},
    store::Engine,
};
use crate::support::{
    cluster::Kind,
    runner::{Case, Ctx, Outcome, case},
};

pub fn cases() -> Vec<Case> {
    let sandbox = Setting::new(Engine::Sqlite, Kind::Sandbox, "1.2.0");
    let real = Setting::new(Engine::Postgres, Kind::Real, "1.2.0");
    vec![
        case("main_road::sqlite_sandbox_by_a_file_of_init", move |ctx| {
            by_init(ctx, sandbox)
        }),
        case(
            "main_road::postgres_real_looks_for_init_and_touches_nothing",
            move |ctx| by_init(ctx, real),
        ),
    ]
}

async fn by_init(ctx: Ctx, setting: Setting) -> Outcome {
    let stage = Stage::set(Setting { replicas: 1, ..setting }, ctx.dir(), ctx.name()).await?;
    let folder = stage.empty_folder();
    let typed = if stage.setting.kind == Kind::Sandbox {
        "init"
    } else {
        // The kubeconfig of a shared cluster names no namespace.
        "init --name shop"
    };
    let set = stage.sets.get("shop").await?;
    stage.credentials.run(0, &folder, typed).await?;
    let text = fs::read_to_string(folder.join("stepback.yaml"))?;
    let app = AppFile::parse(&text, "stepback.yaml")?;
    assert!(!text.contains("hidden-word"), "{text}");
    let ours =
        |set: &k8s_openapi::api::apps::v1::StatefulSet| (set.metadata.generation, set.metadata.annotations.clone());
    assert_eq!(
        ours(&stage.sets.get("shop").await?),
        ours(&set),
        "it touched the workload"
    );
    let releases: Vec<String> = app.releases.iter().map(|release| release.version.to_string()).collect();
    assert_eq!(releases, ["1.3.0", "1.2.0", "1.1.0"], "the database knows them: {text}");
    if stage.setting.kind != Kind::Sandbox {
        return Ok(());
    }
    assert_eq!((app.name.as_str(), app.workloads.len()), ("shop", 1));
    assert_eq!(app.releases[0].images["shop"]["shop"], "shop:1.3.0");
    assert_eq!(app.probes.len(), 1, "the kubelet's own probe: {text}");
    // The guess is confirmed, and all else left as it is.
    let confirmed = text.replace(
        "# images: { shop: { shop: shop:1.2.0 } }",
        "images: { shop: { shop: shop:1.2.0 } }",
    );
    let confirmed = confirmed.replace(
        "# images: { shop: { shop: \"shop:1.2.0\" } }",
        "images: { shop: { shop: \"shop:1.2.0\" } }",
    );
    assert_ne!(confirmed, text);
    fs::write(folder.join("stepback.yaml"), confirmed)?;
    let typed = "rollback --to 1.2.0 --data-loss accept --yes";
    stage.credentials.run(0, &folder, typed).await?;
    let image = stage
        .sets
        .get("shop")
        .await?
        .spec
        .template
        .spec
        .and_then(|pod| pod.containers[0].image.clone());
    assert_eq!(image.as_deref(), Some("shop:1.2.0"));
    Ok(())
}
