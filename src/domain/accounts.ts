export type InstanceRole = "owner" | "admin" | "member";

export interface Account {
  id: string;
  username: string;
  /** Argon2id in PHC form. Never leaves services. */
  password_hash: string;
  role: InstanceRole;
  is_active: boolean;
  created_at: number;
}

export interface Session {
  /** SHA-256 of the token, hex. */
  token_hash: string;
  account_id: string;
  created_at: number;
  expires_at: number;
  last_seen_at: number;
}

/** Who acts: resolved from a session for each request and passed explicitly. */
export interface Actor {
  account_id: string;
  username: string;
  role: InstanceRole;
  /** SHA-256 of the session token, so that logout can end it. */
  session_hash: string;
}
