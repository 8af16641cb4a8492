//! From the client's errors to the seam's.

use crate::cluster::ClusterError;

/// What a failed request to one object means.
///
/// Answers below 500 were given instead of an effect; behind a 5xx, as behind a lost connection, the effect may be
/// there or still to come.
pub(super) fn of(error: kube::Error, object: &str) -> ClusterError {
    let status = match error {
        kube::Error::Api(status) => status,
        // The layers of the client between us and the socket help nobody.
        kube::Error::Service(error) => return ClusterError::Unreachable(root(&*error)),
        other => return ClusterError::Unreachable(chain(&other)),
    };
    let message = if status.message.is_empty() {
        format!("HTTP {} {}", status.code, status.reason)
    } else {
        status.message.clone()
    };
    match status.code {
        401 => ClusterError::Forbidden(format!(
            "{object}: the API server does not accept the credentials ({message})"
        )),
        403 if is_admission(&message) => ClusterError::Refused(format!("{object}: {message}")),
        403 => ClusterError::Forbidden(message),
        404 => ClusterError::Gone {
            object: object.to_owned(),
            message,
        },
        409 => ClusterError::Conflict {
            object: object.to_owned(),
        },
        400..=428 => ClusterError::Refused(format!("{object}: {message}")),
        _ => ClusterError::Unreachable(format!("{object}: {message}")),
    }
}

/// Whether a 403 is of somebody who may ask, but whose object is not taken: a quota, a policy or a webhook. Sources:
/// `k8s.io/apiserver/pkg/admission/plugin/resourcequota` (`exceeded quota: …`, `failed quota: …`), `…/plugin/policy`
/// (`ValidatingAdmissionPolicy '…'`), `…/plugin/webhook` (`admission webhook "…" denied`) and `k8s.io/pod-security-admission`
/// (`violates PodSecurity`). A right that is missing is written `User "…" cannot …`.
pub(crate) fn is_admission(message: &str) -> bool {
    [
        "exceeded quota: ",
        "failed quota: ",
        "status unknown for quota: ",
        "admission webhook ",
        "ValidatingAdmissionPolicy ",
        "violates PodSecurity ",
    ]
    .iter()
    .any(|said| message.contains(said))
}

/// What a failed request for a stream means. The client keeps the status of a refusal and not its text.
pub(super) fn of_upgrade(error: kube::Error, object: &str) -> ClusterError {
    use kube::client::UpgradeConnectionError::ProtocolSwitch;
    match error {
        kube::Error::UpgradeConnection(ProtocolSwitch(status)) => match status.as_u16() {
            401 | 403 => ClusterError::Forbidden(format!("{object}: the API server answered {status}")),
            400..=428 => ClusterError::Refused(format!("{object}: the API server answered {status}")),
            _ => ClusterError::Unreachable(format!("{object}: the API server answered {status}")),
        },
        other => of(other, object),
    }
}

/// What a failed watch means.
pub(super) fn of_watch(error: kube::runtime::watcher::Error, object: &str) -> ClusterError {
    use kube::runtime::watcher::Error;
    match error {
        Error::InitialListFailed(error) | Error::WatchStartFailed(error) | Error::WatchFailed(error) => {
            of(error, object)
        }
        other => ClusterError::Unreachable(format!("{object}: {}", chain(&other))),
    }
}

/// The first cause of an error.
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut first = error;
    while let Some(cause) = first.source() {
        first = cause;
    }
    first.to_string()
}

/// An error with its causes, each said once.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn an_answer_decides_and_a_server_error_does_not() {
        let error = |code| {
            of(
                kube::Error::Api(Status::failure("no", "").with_code(code).boxed()),
                "it",
            )
        };
        assert!(matches!(error(401), ClusterError::Forbidden(_)));
        assert!(matches!(error(403), ClusterError::Forbidden(_)));
        for said in [
            "configmaps \"run\" is forbidden: exceeded quota: maps, requested: count/configmaps=1, used: \
             count/configmaps=9, limited: count/configmaps=9",
            "admission webhook \"no.example\" denied the request: not on Fridays",
        ] {
            let status = Status::failure(said, "Forbidden").with_code(403).boxed();
            let error = of(kube::Error::Api(status), "it");
            assert!(matches!(error, ClusterError::Refused(_)), "{error:?}");
        }
        assert!(matches!(error(404), ClusterError::Gone { .. }));
        assert!(matches!(error(409), ClusterError::Conflict { .. }));
        for code in [400, 405, 410, 413, 415, 422] {
            assert!(matches!(error(code), ClusterError::Refused(_)), "{code}");
        }
        for code in [429, 500, 502, 503, 504] {
            assert!(matches!(error(code), ClusterError::Unreachable(_)), "{code}");
        }
    }
}
