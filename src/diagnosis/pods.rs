//! The finding about pods of the operator that cannot start because their image cannot be pulled. Pure.

use k8s_openapi::api::core::v1::Pod;

use super::{Finding, ReadError, cluster, some};

/// The kubelet's reasons for a container that waits because the node has no image for it.
const IMAGE_REASONS: [&str; 6] = [
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImageInspectError",
    "ImagePullBackOff",
    "InvalidImageName",
    "SignatureValidationFailed",
];

/// A pod that waits for its image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImagelessPod {
    pub name: String,
    pub image: String,
    /// The kubelet's reason, and its message if there is one.
    pub why: String,
}

impl ImagelessPod {
    /// `None` if the pod does not wait for an image.
    pub fn of(pod: &Pod) -> Option<Self> {
        let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
        containers.iter().find_map(|container| {
            let waiting = container.state.as_ref()?.waiting.as_ref()?;
            let reason = waiting.reason.as_deref().filter(|reason| IMAGE_REASONS.contains(reason))?;
            let why = waiting.message.as_ref().map_or_else(|| reason.to_owned(), |text| format!("{reason}: {text}"));
            Some(Self { name: pod.metadata.name.clone()?, image: container.image.clone(), why })
        })
    }
}

/// `no_leader`: whether no replica leads. Only then is it a finding that the pods cannot be read.
pub(super) fn judge(pods: &Result<Vec<ImagelessPod>, ReadError>, no_leader: bool) -> Option<Finding> {
    let pods = match pods {
        Err(error) => return no_leader.then(|| cluster::unreadable(error)),
        Ok(pods) => pods,
    };
    let ImagelessPod { image, why, .. } = pods.first()?;
    let names: Vec<String> = pods.iter().map(|pod| pod.name.clone()).collect();
    let what = format!("pods of the operator wait for the image {image}: {} ({why})", some(&names));
    let advice = "push the image to a registry that the nodes reach and set image.repository, or load it into every \
                  node: docs/install.md#the-image";
    Some(Finding::problem("ImageNotPulled", what, advice))
}
