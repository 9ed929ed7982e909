// A question before something that cannot be undone: if (await confirmed({title, text, action})) ...

import { fresh, h } from "./dom.js";
import { t } from "./i18n.js";

export function confirmed({ title, text, action }) {
  const id = fresh("question");
  const dialog = h("dialog", { "aria-labelledby": id, "aria-describedby": `${id}-text` },
    h("form", { method: "dialog" }, h("h2", { id }, title), h("p", { id: `${id}-text` }, text),
      h("div", { class: "row" }, h("button", { value: "", class: "quiet" }, () => t("cancel")),
        h("button", { value: "yes", class: "danger" }, action))));
  const opener = document.activeElement;
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((done) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      opener?.focus();
      done(dialog.returnValue === "yes");
    });
  });
}
