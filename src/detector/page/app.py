"""The page itself, in Gradio, and the application that is served."""

import os
from collections.abc import AsyncIterator
from html import escape
from pathlib import Path

from detector.data.decode import decode
from detector.page.api import BUSY, Api
from detector.page.drawing import data_uri, page_of, standing
from detector.page.examples import Example, render_examples
from detector.page.guard import Guard
from detector.page.judge import TRAIN, Judgement, plain
from detector.page.networks import Networks
from detector.page.receive import Refused, clean_name, megabytes

EXPIRED = "This upload is no longer here: send the picture again."
WAITING = '<p class="d-page">Looking at {name} …</p>'
# A screen reader says what appears here; the drop zone says what it is.
READY_JS = """() => {
  const answers = document.querySelector('#answers');
  answers.setAttribute('role', 'region');
  answers.setAttribute('aria-label', 'Answers');
  answers.setAttribute('aria-live', 'polite');
  // With one name arrow keys go from one to the next; Gradio gives each its own, again and again.
  const network = document.querySelector('#network');
  const join = () => network.querySelectorAll('input:not([name=network])').forEach(
    one => { one.name = 'network'; });
  if (network) {
    join();
    new MutationObserver(join).observe(
      network, {subtree: true, childList: true, attributeFilter: ['name']});
  }
  document.documentElement.lang = 'en';
}"""


def build(api: Api) -> Guard:
    """The whole application, for an ASGI server.

    Args:
        api: Addresses for programs; the page asks through it, too.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when Gradio is imported
    import gradio as gr
    from fastapi import FastAPI

    blocks = Page(api).blocks()
    blocks.queue(max_size=api.desk.most, default_concurrency_limit=api.desk.most)
    outer = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    gr.mount_gradio_app(
        outer,
        blocks,
        path="/",
        app_kwargs={"docs_url": None, "redoc_url": None, "openapi_url": None},
        show_error=False,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=gr.themes.Base(
            primary_hue="blue",
            font=["system-ui", "sans-serif"],
            font_mono=["ui-monospace", "monospace"],
        ),
        css=(Path(__file__).parent / "style.css").read_text(encoding="utf-8"),
    )
    return Guard(outer, api)


class Page:
    """What stands where, and what happens when.

    Args:
        api: Through which pictures are judged.
    """

    def __init__(self, api: Api) -> None:
        self.api = api
        self.networks: Networks = api.networks
        first = self.networks.first
        self.examples: list[Example] = []
        if self.networks.demonstration:
            self.examples = render_examples(first.size if first else 224)

    def blocks(self) -> object:
        """The page as Gradio's Blocks."""
        import gradio as gr

        with gr.Blocks(title="Real or fake face?", analytics_enabled=False) as page:
            gr.HTML(self._head(), padding=False)
            # Inputs that the browser has itself: Gradio's Dropdown takes keys a moment late, and
            # Enter followed at once by Tab would lose the choice.
            network = gr.Radio(
                [(one.label, one.key) for one in self.networks.all.values()],
                value=self.networks.first.key if self.networks.first else None,
                label="Network",
                visible=bool(self.networks.all),
                elem_id="network",
            )
            upload = gr.File(
                label=f"Pictures: JPEG, PNG or WebP, up to {megabytes(self.api.max_bytes)} each",
                file_count="multiple",
                file_types=["image"],
                height=180,
                elem_id="upload",
            )
            # Its files are in memory here, not paths for Gradio to look at.
            schema = upload.api_info()
            upload.data_model, upload._api_info_cache = None, schema
            buttons = self._examples()
            answers = gr.HTML(elem_id="answers", padding=False)
            gr.HTML(standing(), padding=False)
            upload.upload(
                self.judge_files, [upload, network], [answers, upload],
                preprocess=False, show_progress="minimal", trigger_mode="multiple",
                api_visibility="private",
            )  # fmt: skip
            for button, example in zip(buttons, self.examples, strict=True):
                button.click(
                    self._judge_example(example), [network], [answers],
                    show_progress="minimal", api_visibility="private",
                )  # fmt: skip
            gr.api(self.predict, api_name="predict")
            page.load(None, js=READY_JS)
        return page

    def _head(self) -> str:
        demonstration = ""
        if self.networks.demonstration:
            why = (
                "No network on this machine has been trained on photographs."
                if self.networks.all
                else "There is no trained network on this machine."
            )
            demonstration = (
                f'<p class="demo"><b>Demonstration.</b> {why} The faces below are rendered; of'
                f" photographs there is no verdict. {TRAIN.replace(chr(34), '&quot;')}</p>"
            )
        return (
            '<header class="d-page"><h1>Real or fake face?</h1><p>Drop a picture of a face. The'
            " answer says how often pictures that were scored alike were fake. Nothing leaves this"
            f" machine, and no picture is kept after the answer.</p>{demonstration}</header>"
        )

    def _examples(self) -> list:
        import gradio as gr

        buttons = []
        if not self.examples:
            return buttons
        with gr.Row(elem_classes="examples"):
            for at, example in enumerate(self.examples, 1):
                with gr.Column(min_width=92, scale=1):
                    shown = data_uri(
                        decode(example.jpeg, max_pixels=self.api.options.max_pixels), 160
                    )
                    gr.HTML(f'<img src="{shown}" alt="Rendered face {at}">', padding=False)
                    buttons.append(gr.Button(f"Example {at}", size="sm"))
        return buttons

    async def judge_files(self, payload: object, network: str | None) -> AsyncIterator[tuple]:
        """Judges uploads one after the other; the page grows with each answer."""
        listed = _listed(payload, self.api.max_files)
        done, files = "", [self._taken(one) for one in listed]
        for given, upload in zip(listed, files, strict=True):
            if upload is None or upload.error:
                name = given.get("orig_name") if isinstance(given, dict) else None
                name = clean_name(name) if isinstance(name, str) else "Upload"
                done += page_of(Judgement(name, upload.error if upload else EXPIRED))
                continue
            yield done + WAITING.format(name=escape(upload.name)), None
            done += page_of(await self._judged(upload.data, upload.name, network))
        yield done, None

    async def _judged(self, data: bytes, name: str, network: str | None, truth: str = "") -> object:
        try:
            self.api.desk.enter("the page")
        except Refused:
            return Judgement(name, BUSY)
        try:
            return await self.api.judged(data, name, network, rendered=truth)
        except Refused as refused:
            return Judgement(name, refused.message)
        finally:
            self.api.desk.leave("the page")

    def _judge_example(self, example: Example) -> object:
        async def judged(network: str | None) -> str:
            judgement = await self._judged(example.jpeg, example.name, network, example.truth)
            return page_of(judgement)

        return judged

    async def predict(self, picture: dict, network: str | None = None) -> dict:
        """For gradio_client: what POST /api/predict answers.

        Args:
            picture: `gradio_client.handle_file(path)`.
            network: A key of /api/networks; None takes the first.
        """
        upload = self._taken(picture)
        if upload is None:
            return {"file": "", "error": EXPIRED}
        if upload.error:
            return {"file": upload.name, "error": upload.error}
        return plain(await self._judged(upload.data, upload.name, network or None))

    def _taken(self, given: object) -> object:
        token = given.get("path") if isinstance(given, dict) else None
        return self.api.uploads.take(token) if isinstance(token, str) else None


def _listed(payload: object, most: int) -> list:
    given = payload if isinstance(payload, list) else [payload] if payload else []
    return given[:most]
