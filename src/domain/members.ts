/** Who belongs to an app, and to which app a host. */
import type { AppRole } from "./access.ts";
import type { InstanceRole } from "./accounts.ts";

/**
 * An account in an app. Only of accounts with the instance role `member` it counts: admins and owners are
 * admins of every app anyway, and their membership waits for the day when they no longer are.
 */
export interface Member {
  app_id: string;
  account_id: string;
  username: string;
  account_role: InstanceRole;
  role: AppRole;
  is_active: boolean;
  created_at: number;
  /** Null: the account that did it is gone. */
  created_by: string | null;
}

/** An app that an account belongs to. */
export interface Membership {
  app_id: string;
  slug: string;
  role: AppRole;
}

/** A host on which only routes of one app are served. `*.name` stands for all below the name. */
export interface AppHost {
  host: string;
  app_id: string;
  created_at: number;
  created_by: string | null;
}
