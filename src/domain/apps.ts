import { invalidField } from "./errors.ts";
import { slugPattern } from "./limits.ts";
import { checkName } from "./names.ts";

/** An app owns scripts, routes and data; nothing crosses from one app to another. */
export interface App {
  id: string;
  slug: string;
  name: string;
  created_at: number;
}

/** The app that exists from the first start. */
export const defaultAppSlug = "default";

const idPattern = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** `{app}` in an address is an id or a slug: no slug may look like an id. */
export function isAppId(ref: string): boolean {
  return idPattern.test(ref);
}

/** Throws PicError `invalid`. */
export function checkApp(app: { slug: string; name: string }): void {
  if (!slugPattern.test(app.slug)) {
    throw invalidField(
      "slug",
      "must be 1 to 63 of a-z, 0-9 and -, beginning and ending with a letter or a digit",
    );
  }
  if (isAppId(app.slug)) throw invalidField("slug", "must not look like an id");
  checkName("name", app.name);
}
