// What this viewer asks for: the link's word, else the last choice.

import { remember } from "./remember";
import type { Mode } from "./wire";

export const query = new URLSearchParams(location.search);

/** The feed that the link names. */
export const wantedFeed = query.get("feed");

export const wantedMode: Mode = (query.get("mode") ?? remember.get("mode")) === "fast" ? "fast" : "exact";
