"""Human captions as paraphrases: a captioned-photo table becomes training pairs and queries.

    python docs/examples/flickr8k_pairs.py FLICKR8K OUT

FLICKR8K holds captions.tsv (image, caption, caption_index) and images/. Three captions of a photo
become T, T' and T''; the last 100 photos become a paraphrased-retrieval set.
"""

import csv
import json
import sys
from collections import defaultdict
from pathlib import Path

flickr, out = Path(sys.argv[1]), Path(sys.argv[2])
captions: dict[str, list[str]] = defaultdict(list)
with (flickr / "captions.tsv").open(encoding="utf-8", newline="") as file:
    for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
        captions[row["image"]].append(row["caption"])
photos = sorted(captions)

task = out / "paraphrased-retrieval"
(task / "images").mkdir(parents=True)
with (out / "pairs.jsonl").open("w", encoding="utf-8") as file:
    for photo in photos[:-100]:
        texts = dict(
            zip(("caption", "paraphrase_1", "paraphrase_2"), captions[photo], strict=False)
        )
        file.write(json.dumps({"image": photo, **texts}) + "\n")
with (task / "queries.jsonl").open("w", encoding="utf-8") as file:
    for photo in photos[-100:]:
        query, paraphrase = captions[photo][:2]
        row = {"query": query, "paraphrase": paraphrase, "image_id": photo}
        file.write(json.dumps(row) + "\n")
        (task / "images" / photo).symlink_to((flickr / "images" / photo).resolve())
