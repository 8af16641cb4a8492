//! The examples in `deploy/guard`: a cluster takes them, and the guard that they describe does what they promise.

use std::{collections::BTreeMap, fs, path::Path};

use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams},
};
use serde_json::Value;

use super::{history_and_header, write_all};
use crate::support::{
    binary::Binary,
    cluster::Kind,
    runner::{Case, Ctx, NotPassed, Outcome, case, root, sync_case},
    scene::Scene,
};

pub fn cases() -> Vec<Case> {
    let mut cases = vec![sync_case("guard::deploy::its_guard_lets_pass_and_keeps_out", |ctx| {
        keeps_out(&ctx)
    })];
    for kind in [Kind::Sandbox, Kind::Real] {
        let name = format!("guard::deploy::{}_takes_the_examples", kind.name());
        cases.push(case(name, move |ctx| takes(ctx, kind)));
    }
    cases
}

const ENGINES: [&str; 3] = ["mariadb", "mysql", "postgres"];

/// The objects of an example.
fn objects(engine: &str) -> Result<Vec<Value>, NotPassed> {
    let text = fs::read_to_string(root().join(format!("deploy/guard/{engine}.yaml")))?;
    let documents = text.split("\n---\n").map(serde_saphyr::from_str);
    Ok(documents.collect::<Result<_, _>>()?)
}

/// As `kubectl apply --dry-run=server --validate=strict` does: unknown fields and bad values are errors.
async fn takes(ctx: Ctx, kind: Kind) -> Outcome {
    let scene = Scene::open(kind, ctx.name()).await?;
    for engine in ENGINES {
        for object in objects(engine)? {
            let (group, version) = match object["apiVersion"].as_str().unwrap_or_default() {
                "v1" => ("", "v1"),
                other => other.split_once('/').expect("a group and a version"),
            };
            let what = GroupVersionKind::gvk(group, version, object["kind"].as_str().unwrap());
            let api: Api<DynamicObject> =
                Api::namespaced_with(scene.client.clone(), &scene.namespace, &ApiResource::from_gvk(&what));
            let how = PatchParams::apply("someone").dry_run().validation_strict();
            let name = object["metadata"]["name"].as_str().unwrap();
            api.patch(name, &how, &Patch::Apply(&object)).await?;

            // And what is wrong would be found. The sandbox does not know every field's name.
            if kind == Kind::Sandbox {
                continue;
            }
            let mut wrong = object.clone();
            wrong["spec"]["guarded"] = true.into();
            let refused = api.patch(name, &how, &Patch::Apply(&wrong)).await.err();
            let refused = refused.map(|error| error.to_string()).unwrap_or_default();
            assert!(refused.contains("guarded"), "{refused}");
        }
    }
    Ok(())
}

/// Runs the guard of each example on a fresh volume, on data that its server can open, and on a newer server's.
fn keeps_out(ctx: &Ctx) -> Outcome {
    let found: Vec<String> = fs::read_dir(root().join("deploy/guard"))?
        .map(|file| Ok::<_, NotPassed>(file?.path().file_stem().unwrap().to_string_lossy().into_owned()))
        .collect::<Result<_, _>>()?;
    assert_eq!(found.len(), ENGINES.len(), "{found:?}");
    for engine in ENGINES {
        let set = objects(engine)?.pop().expect("the set comes last");
        let pod = &set["spec"]["template"]["spec"];
        let (guard, server) = (&pod["initContainers"][0], &pod["containers"][0]);
        assert_eq!(guard["command"][0], "stepback");
        let words: Vec<&str> = guard["args"]
            .as_array()
            .expect("the guard has arguments")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let option = |name: &str| words.iter().find_map(|word| word.strip_prefix(name)).unwrap();
        let (_, tag) = server["image"].as_str().unwrap().split_once(':').unwrap();
        assert_eq!(
            option("--target="),
            tag,
            "{engine}: the guard judges for the server beside it"
        );
        // The guard looks into the volume that the server writes to, and cannot write there.
        let (mount, of_server) = (&guard["volumeMounts"][0], &server["volumeMounts"][0]);
        assert_eq!(mount["readOnly"], true);
        assert_eq!(
            (&mount["name"], &mount["mountPath"]),
            (&of_server["name"], &of_server["mountPath"])
        );
        let data_dir = option("--data-dir=");
        let inside = data_dir.strip_prefix(mount["mountPath"].as_str().unwrap());
        let inside = inside.expect("the data lie in the volume").trim_start_matches('/');

        for (volume, code) in [("fresh", 0), ("same", 0), ("newer", 3)] {
            let volume = ctx.dir().join(engine).join(volume);
            fs::create_dir_all(volume.join("lost+found"))?;
            if code == 3 || volume.ends_with("same") {
                let data = volume.join(inside);
                fs::create_dir_all(&data)?;
                lay_out(engine, &data, code == 3)?;
            }
            let here = format!("--data-dir={}", volume.join(inside).display());
            let typed: Vec<&str> = words
                .iter()
                .map(|word| {
                    if word.starts_with("--data-dir=") {
                        here.as_str()
                    } else {
                        word
                    }
                })
                .collect();
            Binary::in_dir(ctx.dir()).ends(code, &typed.join(" "))?;
        }
    }
    Ok(())
}

/// Data of a server that the example's can follow, or of a newer one.
fn lay_out(engine: &str, data: &Path, newer: bool) -> Outcome {
    let files: BTreeMap<&str, Vec<u8>> = match (engine, newer) {
        ("mysql", false) => history_and_header(80_036, &["8.0.36"]),
        ("mysql", true) => history_and_header(80_402, &["8.0.36", "8.4.2"]),
        ("mariadb", false) => BTreeMap::from([("mysql_upgrade_info", b"10.11.11-MariaDB".to_vec())]),
        ("mariadb", true) => BTreeMap::from([("mariadb_upgrade_info", b"11.4.2-MariaDB".to_vec())]),
        (_, newer) => {
            let from = root().join("testdata/volumes/postgres-18.1");
            let mut control = fs::read(from.join("global/pg_control"))?;
            let mut version = fs::read(from.join("PG_VERSION"))?;
            if !newer {
                // 15's, whose server the distribution may not have.
                control[8..12].copy_from_slice(&1300u32.to_le_bytes());
                control[12..16].copy_from_slice(&202_209_061u32.to_le_bytes());
                version = b"15\n".to_vec();
            }
            BTreeMap::from([("PG_VERSION", version), ("global/pg_control", control)])
        }
    };
    write_all(data, files)
}
