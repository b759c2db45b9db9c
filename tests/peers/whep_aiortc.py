"""Plays a WHEP feed with aiortc, which shares no code with the server.

whep_aiortc.py URL FRAMES: prints one line of JSON with the size and RTP times
of that many decoded frames; fails after 30 s.
"""

import asyncio
import json
import sys
import urllib.request

from aiortc import RTCPeerConnection, RTCSessionDescription


def post(url, sdp):
    request = urllib.request.Request(
        url, data=sdp.encode(), headers={"Content-Type": "application/sdp"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode(), answer.headers["Location"]


async def main(url, wanted):
    peer = RTCPeerConnection()
    # Audio first, as many players offer it: the feed has none.
    peer.addTransceiver("audio", direction="recvonly")
    video = peer.addTransceiver("video", direction="recvonly")
    await peer.setLocalDescription(await peer.createOffer())
    answer, location = await asyncio.to_thread(post, url, peer.localDescription.sdp)
    await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    frames = []
    while len(frames) < wanted:
        frame = await video.receiver.track.recv()
        frames.append({"width": frame.width, "height": frame.height, "pts": frame.pts})
    await peer.close()
    print(json.dumps({"frames": frames, "location": location}))


asyncio.run(asyncio.wait_for(main(sys.argv[1], int(sys.argv[2])), 30))
