//! An embedded Kubernetes cluster for demos and tests.
