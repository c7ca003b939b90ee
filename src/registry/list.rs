//! Reads the registry once, for commands. IO: the API server, reading only.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::Client;
use kube::api::ListParams;

use super::{PAGE_SIZE, RegistrySnapshot, Scope};

/// Reads all objects of the scope.
///
/// # Errors
/// If the API server cannot be reached or denies the list.
pub async fn list(client: &Client, scope: &Scope) -> Result<RegistrySnapshot, kube::Error> {
    let mut objects = BTreeMap::new();
    for api in scope.apis(client.clone()) {
        let mut params =
            ListParams { label_selector: scope.selector.clone(), ..ListParams::default() }.limit(PAGE_SIZE);
        loop {
            let page = api.list(&params).await?;
            let records = page.items.into_iter().filter_map(|object| object.record);
            objects.extend(records.map(|record| (record.name.clone(), Arc::new(record))));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => break,
            }
        }
    }
    Ok(RegistrySnapshot::build(&objects, 1))
}
