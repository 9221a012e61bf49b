export type PathKind = "exact" | "prefix" | "param";
export type HostKind = "any" | "strict" | "wildcard";
export type RouteMethod = "ANY" | "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS";
export type DispatchMode = "sync" | "async";

/** A route binds a method, a host pattern and a path pattern to a script. Stored as typed. */
export interface Route {
  id: string;
  app_id: string;
  script_id: string;
  path: string;
  path_kind: PathKind;
  method: RouteMethod;
  host: string;
  host_kind: HostKind;
  host_param_name: string | null;
  dispatch_mode: DispatchMode;
  created_at: number;
  created_by: string | null;
}
