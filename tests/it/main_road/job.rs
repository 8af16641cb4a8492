//! The plain Job of `deploy/job`: its process with its ServiceAccount's token and nothing else, and what becomes of each of
//! its exit codes.

use std::{fs, path::PathBuf, time::Duration};

use k8s_openapi::{
    api::{
        apps::v1::ControllerRevision,
        authentication::v1::TokenRequest,
        authorization::v1::SelfSubjectAccessReview,
        core::v1::{Pod, Secret, ServiceAccount},
        rbac::v1::{PolicyRule, Role, RoleBinding},
    },
    serde::de::DeserializeOwned,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, from_value, json};
use stepback_core::model::pairings_of;

use super::{
    program::{Credentials, Running},
    refusals::everything,
    stage::{Setting, Stage},
    store::Engine,
    world::{Expected, TO_1_2_0, TO_1_3_0, check_journals, place_orders},
};
use crate::support::{
    cluster::Kind,
    controlplane::connect,
    runner::{Case, Ctx, NotPassed, Outcome, case, fail, root},
};

/// Every right is taken away once, and the API server is waited for each time.
const ALL_RIGHTS: Duration = Duration::from_secs(180);

/// What a kubelet sets. That the first is set tells the program that it is inside.
const INSIDE: [(&str, &str); 2] = [
    ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
    ("HOSTNAME", "shop-to-1-3-0-x7k2p"),
];

pub fn cases() -> Vec<Case> {
    vec![
        case("main_road::job_goes_back_up_and_nowhere_with_its_token_alone", road),
        case("main_road::job_has_no_right_too_many_and_says_which_is_missing", rights).limit(ALL_RIGHTS),
    ]
}

/// The objects of a file of `deploy/job`, in this namespace.
pub fn objects(file: &str, namespace: &str) -> Result<Vec<Value>, NotPassed> {
    let text = fs::read_to_string(root().join("deploy/job").join(file))?;
    let text = text.replace("namespace: production", &format!("namespace: {namespace}"));
    Ok(text
        .split("\n---\n")
        .map(serde_saphyr::from_str)
        .collect::<Result<_, _>>()?)
}

/// As `kubectl create --validate=strict` does: fields that do not exist are errors.
pub async fn create<K>(client: &Client, object: &Value) -> Result<K, NotPassed>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + DeserializeOwned
        + Clone
        + std::fmt::Debug,
{
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    let path = format!("{}?fieldValidation=Strict", K::url_path(&(), Some(namespace)));
    let request = http::Request::post(path)
        .header("content-type", "application/json")
        .body(serde_json::to_vec(object)?)?;
    Ok(client.request(request).await?)
}

/// A pod of the Job, as far as its process goes.
struct JobPod {
    credentials: Credentials,
    /// With the rights of its ServiceAccount.
    client: Client,
    arguments: Vec<String>,
}

impl JobPod {
    /// Applies the manifests as their comments say, and gets a token as a pod does.
    async fn of(stage: &Stage) -> Result<JobPod, NotPassed> {
        let (client, namespace) = (&stage.client, &stage.namespace);
        let rights = objects("rights.yaml", namespace)?;
        let [account, role, binding] = rights.as_slice() else {
            return fail("rights.yaml holds a ServiceAccount, a Role and a RoleBinding");
        };
        create::<ServiceAccount>(client, account).await?;
        create::<Role>(client, role).await?;
        create::<RoleBinding>(client, binding).await?;
        let secret = json!({ "metadata": { "name": "shop-database", "namespace": namespace },
                             "stringData": { "url": stage.store.url } });
        create::<Secret>(client, &secret).await?;

        let job = objects("job.yaml", namespace)?.remove(0);
        let pod = &job["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        assert_eq!(container["command"], json!(["stepback"]));
        let account = pod["serviceAccountName"].as_str().unwrap_or_default();
        let database = value_of(stage, &container["env"]).await?;
        let kubeconfig = with_token(stage, account).await?;
        let arguments = container["args"].as_array().into_iter().flatten();
        Ok(JobPod {
            client: connect(&kubeconfig).await?,
            credentials: Credentials { kubeconfig, database },
            arguments: arguments.filter_map(|word| word.as_str().map(str::to_owned)).collect(),
        })
    }

    /// Its process, of the image of a release, on the way to one.
    fn start(&self, stage: &Stage, image: &str, to: &str) -> Result<Running, NotPassed> {
        let folder = stage.folder(image).display().to_string();
        let typed: Vec<String> = self
            .arguments
            .iter()
            .map(|word| match word.split_once('=') {
                Some(("--to", _)) => format!("--to={to}"),
                Some((name, path)) => format!("{name}={folder}{}", path.trim_start_matches("/app")),
                None => word.clone(),
            })
            .collect();
        self.credentials
            .start_with(&stage.empty_folder(), &typed.join(" "), &INSIDE)
    }

    /// Waits until the API server has heard of a change of the Role: there is nothing to watch.
    async fn until_allowed(&self, rule: &Rule, namespace: &str, allowed: bool) -> Outcome {
        let reviews: Api<SelfSubjectAccessReview> = Api::all(self.client.clone());
        let (resource, subresource) = rule.resource.split_once('/').unwrap_or((&rule.resource, ""));
        let asked = json!({ "spec": { "resourceAttributes": {
            "group": rule.group, "resource": resource, "subresource": subresource, "verb": rule.verb,
            "namespace": namespace,
        } } });
        let asked: SelfSubjectAccessReview = from_value(asked)?;
        for _ in 0..400 {
            let told = reviews.create(&PostParams::default(), &asked).await?;
            if told.status.is_some_and(|status| status.allowed == allowed) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        fail(format_args!("the API server does not learn of {rule:?}"))
    }
}

/// The value of the one variable, out of its Secret.
async fn value_of(stage: &Stage, env: &Value) -> Result<String, NotPassed> {
    let [variable] = env.as_array().map(Vec::as_slice).unwrap_or_default() else {
        return fail(format_args!("one variable is enough: {env}"));
    };
    assert_eq!(variable["name"], "DATABASE_URL");
    let from = &variable["valueFrom"]["secretKeyRef"];
    let secrets: Api<Secret> = Api::namespaced(stage.client.clone(), &stage.namespace);
    let secret = secrets.get(from["name"].as_str().unwrap_or_default()).await?;
    let value = secret
        .data
        .unwrap_or_default()
        .remove(from["key"].as_str().unwrap_or_default());
    match value {
        Some(value) => Ok(String::from_utf8(value.0)?),
        None => fail(format_args!("no such key: {from}")),
    }
}

/// A kubeconfig that holds a token of this ServiceAccount and nothing else that opens anything.
async fn with_token(stage: &Stage, account: &str) -> Result<PathBuf, NotPassed> {
    let accounts: Api<ServiceAccount> = Api::namespaced(stage.client.clone(), &stage.namespace);
    let asked: TokenRequest = from_value(json!({ "metadata": {}, "spec": { "audiences": [] } }))?;
    let asked = accounts
        .create_token_request(account, &PostParams::default(), &asked)
        .await?;
    let token = asked.status.and_then(|status| status.token).unwrap_or_default();
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&stage.credentials.kubeconfig)?)?;
    config["users"][0]["user"] = json!({ "token": token });
    config["contexts"][0]["context"]["namespace"] = json!(stage.namespace);
    let path = stage.empty_folder().join("kubeconfig");
    fs::write(&path, config.to_string())?;
    Ok(path)
}

async fn shop(ctx: &Ctx) -> Result<Stage, NotPassed> {
    let setting = Setting {
        replicas: 2,
        ..Setting::new(Engine::Postgres, Kind::Real, "1.2.0")
    };
    let stage = Stage::set(setting, ctx.dir(), ctx.name()).await?;
    place_orders(&stage).await?;
    Ok(stage)
}

async fn road(ctx: Ctx) -> Outcome {
    let stage = shop(&ctx).await?;
    let pod = JobPod::of(&stage).await?;
    // Ahead, from the image of the older release.
    let ran = pod.start(&stage, "1.2.0", "1.2.0")?.ended().await?.with(0)?;
    assert!(!ran.err.contains("rights-missing"), "{ran}");
    TO_1_2_0.check(&stage).await?;
    let journal = check_journals(&stage).await?;
    assert_eq!(journal.plan.to.release, Some("1.2.0".parse()?));

    // Equal: nothing.
    let before = everything(&stage).await?;
    let ran = pod.start(&stage, "1.2.0", "1.2.0")?.ended().await?.with(0)?;
    assert!(ran.out.starts_with("nothing to do: already at 1.2.0"), "{ran}");
    assert_eq!(everything(&stage).await?, before);

    // Behind: the migrations of the newer release's image; no pod is touched.
    let pods = uids(&stage).await?;
    pod.start(&stage, "1.3.0", "1.3.0")?.ended().await?.with(0)?;
    let Expected { ledger, orders, .. } = TO_1_3_0;
    assert_eq!(stage.store.applied().await?, ledger);
    assert_eq!(stage.store.ask(orders.0).await?, orders.1);
    assert_eq!(uids(&stage).await?, pods);
    let ran = pod.start(&stage, "1.3.0", "1.3.0")?.ended().await?.with(0)?;
    assert!(ran.out.starts_with("nothing to do"), "{ran}");

    // What it runs as may do nothing else.
    let secrets: Api<Secret> = Api::namespaced(pod.client.clone(), &stage.namespace);
    assert!(secrets.get("shop-database").await.is_err(), "it may read Secrets");
    Ok(())
}

async fn uids(stage: &Stage) -> Result<Vec<Option<String>>, NotPassed> {
    let pods = stage.pods.list(&Default::default()).await?;
    Ok(pods.iter().map(Pod::uid).collect())
}

/// One verb on one resource.
#[derive(Debug)]
struct Rule {
    group: String,
    resource: String,
    verb: String,
}

impl Rule {
    /// As the refusal names it.
    fn named(&self) -> String {
        let group = if self.group.is_empty() {
            String::new()
        } else {
            format!(".{}", self.group)
        };
        format!("may not {} {}{group}", self.verb, self.resource)
    }
}

async fn rights(ctx: Ctx) -> Outcome {
    let stage = shop(&ctx).await?;
    let pod = JobPod::of(&stage).await?;
    let roles: Api<Role> = Api::namespaced(stage.client.clone(), &stage.namespace);
    let whole = roles.get("stepback").await?.rules.unwrap_or_default();
    let mut tried = 0;
    for (index, rule) in whole.iter().enumerate() {
        let resource = rule.resources.iter().flatten().next().cloned().unwrap_or_default();
        assert_eq!(
            rule.resources.as_ref().map(Vec::len),
            Some(1),
            "a rule a resource: {rule:?}"
        );
        for verb in &rule.verbs {
            let missing = Rule {
                group: rule.api_groups.iter().flatten().next().cloned().unwrap_or_default(),
                resource: resource.clone(),
                verb: verb.clone(),
            };
            let mut poorer = whole.clone();
            poorer[index].verbs.retain(|other| other != verb);
            if poorer[index].verbs.is_empty() {
                poorer.remove(index);
            }
            set_rules(&roles, &poorer).await?;
            pod.until_allowed(&missing, &stage.namespace, false).await?;
            let before = everything(&stage).await?;
            let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            let is_spared = matches!(resource.as_str(), "pods/log" | "events" | "poddisruptionbudgets")
                || (resource == "controllerrevisions" && verb == "patch");
            if is_spared {
                // No reason to stay down: it warns.
                let typed = format!(
                    "plan --to 1.2.0 --config {}/stepback.yaml",
                    stage.folder("1.2.0").display()
                );
                let mut looking = pod.credentials.start_with(&stage.empty_folder(), &typed, &INSIDE)?;
                let ran = looking.ended().await?.with(0)?;
                assert!(words(&ran.out).contains(&missing.named()), "{missing:?}: {ran}");
            } else {
                let ran = pod.start(&stage, "1.2.0", "1.2.0")?.ended().await?.with(3)?;
                assert!(words(&ran.err).contains(&missing.named()), "{missing:?}: {ran}");
                assert!(words(&ran.err).contains("nothing was touched"), "{ran}");
            }
            assert_eq!(
                everything(&stage).await?,
                before,
                "without {missing:?} something was touched"
            );
            set_rules(&roles, &whole).await?;
            pod.until_allowed(&missing, &stage.namespace, true).await?;
            tried += 1;
        }
    }
    assert!(tried > 20, "{tried}");
    // It is carried out without what only remembers, and says so.
    let spared = Rule {
        group: "apps".to_owned(),
        resource: "controllerrevisions".to_owned(),
        verb: "patch".to_owned(),
    };
    let mut poorer = whole.clone();
    let is_it = |rule: &&mut PolicyRule| rule.resources.iter().flatten().any(|name| *name == spared.resource);
    let rule = poorer.iter_mut().find(is_it).expect("the Role has it");
    rule.verbs.retain(|verb| *verb != spared.verb);
    set_rules(&roles, &poorer).await?;
    pod.until_allowed(&spared, &stage.namespace, false).await?;
    let ran = pod.start(&stage, "1.2.0", "1.2.0")?.ended().await?.with(0)?;
    let said = format!("no revision is paired: this role {}", spared.named());
    assert!(ran.err.contains(&said), "{ran}");
    TO_1_2_0.check_but_pairing(&stage).await?;
    let revisions: Api<ControllerRevision> = Api::namespaced(stage.client.clone(), &stage.namespace);
    assert_eq!(pairings_of(&revisions.get(&stage.old_revision).await?), []);
    Ok(())
}

async fn set_rules(roles: &Api<Role>, rules: &[PolicyRule]) -> Outcome {
    let patch = json!({ "rules": rules });
    roles
        .patch("stepback", &PatchParams::default(), &Patch::Merge(patch))
        .await?;
    Ok(())
}
