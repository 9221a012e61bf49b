/** What PiCloud's own credentials look like, so that none of them ever reaches a script. */
export const sessionCookieName = "picloud_session";
export const sessionTokenPrefix = "pcs_";
export const apiKeyPrefix = "pic_";
/** What `pic` reads of the environment, and no server. */
export const urlVariable = "PICLOUD_URL";
export const tokenVariable = "PICLOUD_TOKEN";
