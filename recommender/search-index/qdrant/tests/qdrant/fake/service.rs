//! The services of the protocol.

use std::sync::Arc;

use parking_lot::Mutex;
use qdrant_client::qdrant::{
    self as q, CollectionConfig, CollectionInfo, CollectionParams, OptimizerStatus, alias_operations::Action,
    collections_server::Collections, points_server::Points, points_update_operation::Operation, qdrant_server,
    snapshots_server,
};
use tonic::{Request, Response, Status};

use super::{Asked, Collection, Fault, State, store};

pub struct Service {
    pub state: Arc<Mutex<State>>,
}

type Answer<T> = Result<Response<T>, Status>;

impl Service {
    /// Does `work` for a call of `method`, unless it shall go wrong.
    async fn answer<M, T>(
        &self,
        method: &'static str,
        request: Request<M>,
        work: impl FnOnce(&mut State, M) -> Result<T, Status>,
    ) -> Answer<T> {
        let fault = {
            let mut state = self.state.lock();
            let given = request.metadata().get("api-key").and_then(|key| key.to_str().ok());
            if state.key.is_some() && state.key.as_deref() != given {
                return Err(Status::unauthenticated("Invalid API key or JWT"));
            }
            state.faults.get_mut(method).and_then(|faults| faults.pop_front())
        };
        match fault {
            Some(Fault::Before(status)) => Err(status),
            Some(Fault::Never) => std::future::pending().await,
            Some(Fault::After(status)) => {
                work(&mut self.state.lock(), request.into_inner())?;
                Err(status)
            }
            None => work(&mut self.state.lock(), request.into_inner()).map(Response::new),
        }
    }
}

impl State {
    fn named(&mut self, name: &str) -> Result<&mut Collection, Status> {
        let name = self.aliases.get(name).cloned().unwrap_or_else(|| name.to_owned());
        let missing = Status::not_found(format!("Not found: Collection `{name}` doesn't exist!"));
        self.collections.get_mut(&name).ok_or(missing)
    }
}

macro_rules! service {
    ($service:path, { $($real:tt)* }, [$($name:ident($request:ident) -> $response:ident),* $(,)?]) => {
        #[tonic::async_trait]
        impl $service for Service {
            $($real)*
            $(async fn $name(&self, _: Request<q::$request>) -> Answer<q::$response> {
                Err(Status::unimplemented(stringify!($name)))
            })*
        }
    };
}

service!(Collections, {
    async fn get(&self, request: Request<q::GetCollectionInfoRequest>) -> Answer<q::GetCollectionInfoResponse> {
        self.answer("collection", request, |state, request| {
            state.asked.push(Asked::Other("collection"));
            let collection = state.named(&request.collection_name)?;
            let creation = &collection.creation;
            let params = CollectionParams {
                vectors_config: creation.vectors_config.clone(),
                sparse_vectors_config: creation.sparse_vectors_config.clone(),
                ..CollectionParams::default()
            };
            let config =
                CollectionConfig { params: Some(params), metadata: creation.metadata.clone(), ..Default::default() };
            let info = CollectionInfo {
                status: 1,
                optimizer_status: Some(OptimizerStatus { ok: true, error: String::new() }),
                config: Some(config),
                payload_schema: collection.indexes.clone().into_iter().collect(),
                ..CollectionInfo::default()
            };
            Ok(q::GetCollectionInfoResponse { result: Some(info), time: 0.0 })
        })
        .await
    }

    async fn list(&self, request: Request<q::ListCollectionsRequest>) -> Answer<q::ListCollectionsResponse> {
        self.answer("collections", request, |state, _| {
            let names = state.collections.keys();
            let collections = names.map(|name| q::CollectionDescription { name: name.clone() }).collect();
            Ok(q::ListCollectionsResponse { collections, time: 0.0 })
        })
        .await
    }

    async fn create(&self, request: Request<q::CreateCollection>) -> Answer<q::CollectionOperationResponse> {
        self.answer("create", request, |state, request| {
            state.asked.push(Asked::Create(request.clone()));
            let name = request.collection_name.clone();
            if state.collections.contains_key(&name) || state.aliases.contains_key(&name) {
                return Err(Status::already_exists(format!("Collection `{name}` already exists!")));
            }
            state.collections.insert(name, Collection { creation: request, ..Collection::default() });
            Ok(q::CollectionOperationResponse { result: true, time: 0.0 })
        })
        .await
    }

    async fn delete(&self, request: Request<q::DeleteCollection>) -> Answer<q::CollectionOperationResponse> {
        self.answer("drop", request, |state, request| {
            state.asked.push(Asked::Drop(request.clone()));
            state.aliases.retain(|_, name| *name != request.collection_name);
            let result = state.collections.remove(&request.collection_name).is_some();
            Ok(q::CollectionOperationResponse { result, time: 0.0 })
        })
        .await
    }

    async fn update_aliases(&self, request: Request<q::ChangeAliases>) -> Answer<q::CollectionOperationResponse> {
        self.answer("alias", request, |state, request| {
            state.asked.push(Asked::Aliases(request.clone()));
            for action in request.actions.into_iter().filter_map(|action| action.action) {
                match action {
                    Action::CreateAlias(create) => {
                        state.named(&create.collection_name)?;
                        state.aliases.insert(create.alias_name, create.collection_name);
                    }
                    Action::DeleteAlias(delete) => drop(state.aliases.remove(&delete.alias_name)),
                    Action::RenameAlias(_) => return Err(Status::unimplemented("rename")),
                }
            }
            Ok(q::CollectionOperationResponse { result: true, time: 0.0 })
        })
        .await
    }

    async fn list_aliases(&self, request: Request<q::ListAliasesRequest>) -> Answer<q::ListAliasesResponse> {
        self.answer("aliases", request, |state, _| {
            state.asked.push(Asked::Other("aliases"));
            let description = |(alias, name): (&String, &String)| q::AliasDescription {
                alias_name: alias.clone(),
                collection_name: name.clone(),
            };
            Ok(q::ListAliasesResponse { aliases: state.aliases.iter().map(description).collect(), time: 0.0 })
        })
        .await
    }

    async fn collection_exists(
        &self,
        request: Request<q::CollectionExistsRequest>,
    ) -> Answer<q::CollectionExistsResponse> {
        self.answer("exists", request, |state, request| {
            let exists = state.named(&request.collection_name).is_ok();
            Ok(q::CollectionExistsResponse { result: Some(q::CollectionExists { exists }), time: 0.0 })
        })
        .await
    }
}, [
    update(UpdateCollection) -> CollectionOperationResponse,
    list_collection_aliases(ListCollectionAliasesRequest) -> ListAliasesResponse,
    collection_cluster_info(CollectionClusterInfoRequest) -> CollectionClusterInfoResponse,
    update_collection_cluster_setup(UpdateCollectionClusterSetupRequest) -> UpdateCollectionClusterSetupResponse,
    create_shard_key(CreateShardKeyRequest) -> CreateShardKeyResponse,
    delete_shard_key(DeleteShardKeyRequest) -> DeleteShardKeyResponse,
    list_shard_keys(ListShardKeysRequest) -> ListShardKeysResponse,
]);

service!(Points, {
    async fn upsert(&self, request: Request<q::UpsertPoints>) -> Answer<q::PointsOperationResponse> {
        self.answer("upsert", request, |state, request| {
            state.asked.push(Asked::Upsert(request.clone()));
            let mode = request.update_mode();
            let collection = state.named(&request.collection_name)?;
            store::upsert(collection, request.points, request.update_filter.as_ref(), mode)?;
            Ok(q::PointsOperationResponse::default())
        })
        .await
    }

    async fn update_batch(&self, request: Request<q::UpdateBatchPoints>) -> Answer<q::UpdateBatchResponse> {
        self.answer("batch", request, |state, request| {
            state.asked.push(Asked::Batch(request.clone()));
            let collection = state.named(&request.collection_name)?;
            for operation in request.operations {
                let Some(Operation::Upsert(list)) = operation.operation else {
                    return Err(Status::unimplemented("an operation other than upsert"));
                };
                let mode = list.update_mode();
                store::upsert(collection, list.points, list.update_filter.as_ref(), mode)?;
            }
            Ok(q::UpdateBatchResponse::default())
        })
        .await
    }

    async fn get(&self, request: Request<q::GetPoints>) -> Answer<q::GetResponse> {
        self.answer("get", request, |state, request| {
            state.asked.push(Asked::Get(request.clone()));
            let collection = state.named(&request.collection_name)?;
            let found = request.ids.iter().filter_map(|id| collection.points.get(&store::key(id)));
            let result = found
                .map(|point| q::RetrievedPoint {
                    id: point.id.clone(),
                    payload: store::selected(&point.payload, request.with_payload.as_ref()),
                    ..q::RetrievedPoint::default()
                })
                .collect();
            Ok(q::GetResponse { result, ..q::GetResponse::default() })
        })
        .await
    }

    async fn count(&self, request: Request<q::CountPoints>) -> Answer<q::CountResponse> {
        self.answer("count", request, |state, request| {
            let filter = request.filter.unwrap_or_default();
            let points = state.named(&request.collection_name)?.points.values();
            let count = points.filter(|point| store::meets(point, &filter)).count() as u64;
            Ok(q::CountResponse { result: Some(q::CountResult { count }), ..q::CountResponse::default() })
        })
        .await
    }

    async fn query(&self, request: Request<q::QueryPoints>) -> Answer<q::QueryResponse> {
        self.answer("query", request, |state, request| {
            state.asked.push(Asked::Query(request.clone()));
            let result = store::query(state.named(&request.collection_name)?, &request)?;
            Ok(q::QueryResponse { result, ..q::QueryResponse::default() })
        })
        .await
    }

    async fn query_batch(&self, request: Request<q::QueryBatchPoints>) -> Answer<q::QueryBatchResponse> {
        self.answer("query_batch", request, |state, request| {
            let mut result = Vec::new();
            for query in request.query_points {
                state.asked.push(Asked::Query(query.clone()));
                result.push(q::BatchResult { result: store::query(state.named(&request.collection_name)?, &query)? });
            }
            Ok(q::QueryBatchResponse { result, ..q::QueryBatchResponse::default() })
        })
        .await
    }

    async fn create_field_index(
        &self,
        request: Request<q::CreateFieldIndexCollection>,
    ) -> Answer<q::PointsOperationResponse> {
        self.answer("index", request, |state, request| {
            state.asked.push(Asked::Index(request.clone()));
            let schema = q::PayloadSchemaInfo { data_type: request.field_type() as i32 + 1, ..Default::default() };
            state.named(&request.collection_name)?.indexes.insert(request.field_name, schema);
            Ok(q::PointsOperationResponse::default())
        })
        .await
    }
}, [
    delete(DeletePoints) -> PointsOperationResponse,
    update_vectors(UpdatePointVectors) -> PointsOperationResponse,
    delete_vectors(DeletePointVectors) -> PointsOperationResponse,
    set_payload(SetPayloadPoints) -> PointsOperationResponse,
    overwrite_payload(SetPayloadPoints) -> PointsOperationResponse,
    delete_payload(DeletePayloadPoints) -> PointsOperationResponse,
    clear_payload(ClearPayloadPoints) -> PointsOperationResponse,
    delete_field_index(DeleteFieldIndexCollection) -> PointsOperationResponse,
    create_vector_name(CreateVectorNameRequest) -> PointsOperationResponse,
    delete_vector_name(DeleteVectorNameRequest) -> PointsOperationResponse,
    search(SearchPoints) -> SearchResponse,
    search_batch(SearchBatchPoints) -> SearchBatchResponse,
    search_groups(SearchPointGroups) -> SearchGroupsResponse,
    scroll(ScrollPoints) -> ScrollResponse,
    recommend(RecommendPoints) -> RecommendResponse,
    recommend_batch(RecommendBatchPoints) -> RecommendBatchResponse,
    recommend_groups(RecommendPointGroups) -> RecommendGroupsResponse,
    discover(DiscoverPoints) -> DiscoverResponse,
    discover_batch(DiscoverBatchPoints) -> DiscoverBatchResponse,
    query_groups(QueryPointGroups) -> QueryGroupsResponse,
    facet(FacetCounts) -> FacetResponse,
    search_matrix_pairs(SearchMatrixPoints) -> SearchMatrixPairsResponse,
    search_matrix_offsets(SearchMatrixPoints) -> SearchMatrixOffsetsResponse,
]);

service!(snapshots_server::Snapshots, {
    async fn create(&self, request: Request<q::CreateSnapshotRequest>) -> Answer<q::CreateSnapshotResponse> {
        self.answer("snapshot", request, |state, request| {
            let snapshots = &mut state.named(&request.collection_name)?.snapshots;
            snapshots.push(format!("{}-{}.snapshot", request.collection_name, snapshots.len()));
            let description = snapshots.last().map(|name| describe(name));
            Ok(q::CreateSnapshotResponse { snapshot_description: description, time: 0.0 })
        })
        .await
    }

    async fn list(&self, request: Request<q::ListSnapshotsRequest>) -> Answer<q::ListSnapshotsResponse> {
        self.answer("snapshots", request, |state, request| {
            let names = &state.named(&request.collection_name)?.snapshots;
            let snapshot_descriptions = names.iter().map(|name| describe(name)).collect();
            Ok(q::ListSnapshotsResponse { snapshot_descriptions, time: 0.0 })
        })
        .await
    }
}, [
    delete(DeleteSnapshotRequest) -> DeleteSnapshotResponse,
    create_full(CreateFullSnapshotRequest) -> CreateSnapshotResponse,
    list_full(ListFullSnapshotsRequest) -> ListSnapshotsResponse,
    delete_full(DeleteFullSnapshotRequest) -> DeleteSnapshotResponse,
]);

fn describe(name: &str) -> q::SnapshotDescription {
    q::SnapshotDescription { name: name.to_owned(), size: 7, ..q::SnapshotDescription::default() }
}

#[tonic::async_trait]
impl qdrant_server::Qdrant for Service {
    async fn health_check(&self, _: Request<q::HealthCheckRequest>) -> Answer<q::HealthCheckReply> {
        let version = self.state.lock().version.clone();
        Ok(Response::new(q::HealthCheckReply { title: "fake".into(), version, commit: None }))
    }
}
