// Stands in the page itself and runs before all else: asking takes longer than reading the rest.

import { begin } from "./offer";
import { wantedFeed, wantedMode } from "./wanted";

// Without a name the server gives its first feed, as the page would.
const whep = wantedFeed === null ? "/whep" : `/whep/${encodeURIComponent(wantedFeed)}`;
window.floorcastEarly = begin(whep, wantedMode);
