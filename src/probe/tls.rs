//! TLS to a pod. The certificate is verified, against the system's authorities or those that the plan holds, for the
//! name that the plan gives: a pod is dialled by its address, and no certificate is for that.

use std::sync::Arc;

use stepback_core::plan::{Tls, Tried};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme, WantsVerifier, client::WantsClientCert,
};

use crate::cluster::Wire;

/// Encrypts the stream, once the pod has shown the certificate that the plan expects.
///
/// # Errors
/// How the try went otherwise.
pub(super) async fn encrypt(wire: Box<dyn Wire>, tls: &Tls, pod: &str) -> Result<Box<dyn Wire>, Tried> {
    let name = match &tls.server_name {
        Some(name) => name.replace("{pod}", pod),
        // Nobody checks it then, but the pod may choose its certificate by it.
        None => pod.to_owned(),
    };
    let server = ServerName::try_from(name.clone())
        .map_err(|_| Tried::Unfit(format!("`{name}` is no name that a certificate can be for")))?;
    let config = config(tls).map_err(Tried::Unfit)?;
    let connector = TlsConnector::from(Arc::new(config));
    match connector.connect(server, wire).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => Err(Tried::Unanswered(format!("TLS for {name}: {error}"))),
    }
}

fn config(tls: &Tls) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder: tokio_rustls::rustls::ConfigBuilder<ClientConfig, WantsClientCert> = if tls.insecure {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
    } else {
        trusting(builder, tls.ca.as_deref())?
    };
    Ok(builder.with_no_client_auth())
}

type Builder<State> = tokio_rustls::rustls::ConfigBuilder<ClientConfig, State>;

fn trusting(builder: Builder<WantsVerifier>, ca: Option<&str>) -> Result<Builder<WantsClientCert>, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let certificate = certificate.map_err(|error| format!("`ca` is not PEM: {error}"))?;
                roots
                    .add(certificate)
                    .map_err(|error| format!("`ca` holds what is no authority: {error}"))?;
            }
            if roots.is_empty() {
                return Err("`ca` holds no certificate".to_owned());
            }
        }
        None => {
            // Some of the system's certificates may be unreadable; the others still count.
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                return Err("this system has no certificate authorities; name some by `ca`".to_owned());
            }
        }
    }
    Ok(builder.with_root_certificates(roots))
}

/// Believes every certificate, because the app file says `insecure: true`. That whoever shows it has its key is still
/// verified.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
