// Requests to the server, and scores that are sent until they are stored.

const PENDING = "ctbone-pending";
const AGAIN = 2000; // ms between attempts
const TRANSIENT = new Set(["busy", "disk_full", "not_writable", "damaged", "unexpected"]);

export class Refused extends Error {
  constructor(code, details) {
    super(code);
    this.code = code;
    this.details = details;
  }
}

/** GET without a body, POST with one; throws Refused, with code "offline" without an answer. */
export async function call(address, body) {
  const options = body === undefined ? {} : {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  };
  let response;
  try {
    response = await fetch(address, options);
  } catch {
    throw new Refused("offline", {});
  }
  if (response.status === 204) return null;
  const content = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(content.error ?? "unexpected", content);
  return content;
}

/** The bytes of a chunk; asked again while the server does not answer. */
export function chunksOf(item) {
  return async (layer, number) => {
    for (;;) {
      try {
        const response = await fetch(`/api/cases/${item}/${layer}/${number}`);
        if (response.ok) return await response.arrayBuffer();
        if (response.status < 500) throw new Refused("no_image", {});
      } catch (error) {
        if (error instanceof Refused) throw error;
      }
      await later();
    }
  };
}

const later = () => new Promise((done) => setTimeout(done, AGAIN));

/** Send a score until the server has stored it. It survives a reload of the page; the server
 * stores a request once, however often it arrives. */
export async function sendScore(item, score, onTrouble) {
  const entry = { item, body: { ...score, request: crypto.randomUUID?.() ?? randomName() } };
  sessionStorage.setItem(PENDING, JSON.stringify(entry));
  await deliver(entry, onTrouble);
}

/** Send the score that an earlier page could not. */
export async function sendPending(onTrouble) {
  const stored = sessionStorage.getItem(PENDING);
  if (stored) await deliver(JSON.parse(stored), onTrouble);
}

async function deliver({ item, body }, onTrouble) {
  for (;;) {
    try {
      await call(`/api/cases/${item}/score`, body);
      sessionStorage.removeItem(PENDING);
      onTrouble(null);
      return;
    } catch (error) {
      onTrouble(error);
      if (error.code === "logged_out") throw error; // sent after the next login
      if (error.code !== "offline" && !TRANSIENT.has(error.code)) {
        sessionStorage.removeItem(PENDING);
        throw error;
      }
    }
    await later();
  }
}

/** crypto.randomUUID exists on loopback and with TLS only. */
function randomName() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
