/** An app owns scripts, routes and data; nothing crosses from one app to another. */
export interface App {
  id: string;
  slug: string;
  name: string;
  created_at: number;
}

/** The app that exists from the first start. */
export const defaultAppSlug = "default";
