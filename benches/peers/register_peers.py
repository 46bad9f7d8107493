"""Our registration against elastix and SimpleITK on the same pairs of cubes, in one run.

    python benches/peers/register_peers.py [--pairs 5] [--side 300] [--threads 2] [--binary BENCH] [--slow]

Needs numpy and scipy, and SimpleITK or itk-elastix; a peer that is not there is named and left out, and without any
the script ends with exit code 3.

What is compared. Fixed: white noise filtered with a Gaussian of 3 voxels, variance 1. Moving: the same under a rigid
motion of 3 to 5 voxels and 0.01 to 0.02 rad (spline of order 5, on a larger grid). To both white noise of 0.3 is
added. Every program gets f32 arrays in memory and starts from the identity; times are from arrays to transform, without
reading files. elastix: its rigid parameter map with AdvancedNormalizedCorrelation, 2048 and (--slow) 20000 samples.
SimpleITK (--slow): correlation, Euler3D, shrink 4-2-1, 5 % random samples, gradient descent with line search off.
Ours runs first for each pair, then the peers. The error is that of the eight corners of the fixed cube.

Resampling: SimpleITK's sitkBSpline of the first pair's moving cube through the true motion, against ours: times from
array to array, and the largest difference 16 voxels and more away from where either looks beyond the cube.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import common

try:
    import numpy as np
    from scipy import ndimage
    from scipy.spatial.transform import Rotation
except ImportError as error:
    print(f"numpy and scipy are needed, nothing was measured: {error}", file=sys.stderr)
    sys.exit(common.NO_PEER)

SIGMA, NOISE = 3.0, 0.3
# Voxels around the cube so that the moving one is filled to its corners.
AROUND = 24
# Voxels from the border that are not compared.
BORDER = 16


def ours(binary, threads, *arguments):
    """One run of our bench: its line of JSON."""
    environment = {**os.environ, "TOMOLITH_BENCH_THREADS": str(threads)}
    command = [binary, *map(str, arguments)]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout
    return json.loads(output.splitlines()[-1])


def pair(side, seed):
    """Fixed and moving cube, [z][y][x] f32, and the motion from fixed to moving as 4 x 4 on (x, y, z, 1)."""
    random = np.random.default_rng(seed)
    wide = side + 2 * AROUND
    texture = ndimage.gaussian_filter(random.standard_normal((wide,) * 3, dtype=np.float32), SIGMA)
    texture /= texture.std()
    direction, axis = (v / np.linalg.norm(v) for v in random.standard_normal((2, 3)))
    turn = Rotation.from_rotvec(random.uniform(0.01, 0.02) * axis).as_matrix()
    shift = random.uniform(3, 5) * direction
    middle = np.full(3, (side - 1) / 2)
    # y = turn (x - middle) + middle + shift; the moving cube at y is the texture at x.
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn, middle + shift - turn @ middle
    back = np.linalg.inv(matrix)
    flip = np.eye(4)[[2, 1, 0, 3]]  # arrays are indexed z, y, x
    back = flip @ back @ flip
    moving = ndimage.affine_transform(texture, back[:3, :3], back[:3, 3] + AROUND, (side,) * 3, order=5)
    fixed = texture[AROUND:-AROUND, AROUND:-AROUND, AROUND:-AROUND]
    noisy = [a + NOISE * random.standard_normal(a.shape, dtype=np.float32) for a in (fixed, moving)]
    return [np.ascontiguousarray(a, dtype=np.float32) for a in noisy], matrix


def corner_error(found, truth, side):
    """Mean and largest distance between the images of the corners, voxels."""
    corners = np.array([[x, y, z, 1] for x in (0, side - 1) for y in (0, side - 1) for z in (0, side - 1)]).T
    apart = np.linalg.norm(((found - truth) @ corners)[:3], axis=0)
    return apart.mean(), apart.max()


def elastix(fixed, moving, samples, threads):
    """elastix, rigid, correlation; the matrix from fixed to moving."""
    import itk
    itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(threads)
    parameters = itk.ParameterObject.New()
    rigid = parameters.GetDefaultParameterMap("rigid")
    rigid["Metric"] = ["AdvancedNormalizedCorrelation"]
    rigid["NumberOfSpatialSamples"] = [str(samples)]
    rigid["AutomaticTransformInitialization"] = ["false"]
    rigid["WriteResultImage"] = ["false"]
    parameters.AddParameterMap(rigid)
    images = [itk.image_view_from_array(a) for a in (fixed, moving)]
    start = time.perf_counter()
    _, result = itk.elastix_registration_method(*images, parameter_object=parameters, log_to_console=False)
    seconds = time.perf_counter() - start
    found = result.GetParameterMap(0)
    ax, ay, az, *shift = map(float, found["TransformParameters"])
    centre = np.array([float(v) for v in found["CenterOfRotationPoint"]])
    # Euler3D: R = Rz Rx Ry.
    turn = (Rotation.from_euler("z", az) * Rotation.from_euler("x", ax) * Rotation.from_euler("y", ay)).as_matrix()
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn, centre + np.array(shift) - turn @ centre
    return seconds, matrix


def simpleitk(fixed, moving, threads):
    """SimpleITK, correlation, shrink 4-2-1, 5 % of the voxels; the matrix from fixed to moving."""
    import SimpleITK as sitk
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    images = [sitk.GetImageFromArray(a) for a in (fixed, moving)]
    start = time.perf_counter()
    centre = [(n - 1) / 2 for n in images[0].GetSize()]
    first = sitk.Euler3DTransform()
    first.SetCenter(centre)
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsCorrelation()
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(0.05, 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-4, 200)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([2, 1, 0])
    method.SetInitialTransform(first)
    found = method.Execute(*images)
    seconds = time.perf_counter() - start
    origin = np.array(found.TransformPoint((0.0, 0.0, 0.0)))
    matrix = np.eye(4)
    for axis in range(3):
        matrix[:3, axis] = np.array(found.TransformPoint(tuple(np.eye(3)[axis]))) - origin
    matrix[:3, 3] = origin
    return seconds, matrix


def resample(moving, matrix, threads, own):
    """Seconds of both, and their largest difference as a part of the range of the values."""
    import SimpleITK as sitk
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    image = sitk.GetImageFromArray(moving)
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(matrix[:3, :3].ravel())
    transform.SetTranslation(matrix[:3, 3])
    start = time.perf_counter()
    theirs = sitk.Resample(image, image, transform, sitk.sitkBSpline, 0.0, sitk.sitkFloat32)
    seconds = time.perf_counter() - start
    theirs = sitk.GetArrayFromImage(theirs)
    side = len(moving)
    axes = np.stack(np.meshgrid(*[np.arange(side, dtype=np.float32)] * 3, indexing="ij")[::-1])
    inside = np.ones(moving.shape, dtype=bool)
    for axis in range(3):
        at = sum(matrix[axis, k] * axes[k] for k in range(3)) + matrix[axis, 3]
        inside &= (at > BORDER) & (at < side - 1 - BORDER)
    apart = np.abs(theirs - own)[inside].max() / np.ptp(moving)
    return seconds, apart


def main():
    """Rounds and their medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--side", type=int, default=300)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--binary")
    parser.add_argument("--slow", action="store_true")
    arguments = parser.parse_args()
    peers, versions = {}, {}
    try:
        import itk
        versions["itk"] = itk.Version.GetITKVersion()
        for samples in (2048, 20000) if arguments.slow else (2048,):
            peers[f"elastix, {samples} samples"] = lambda f, m, n=samples: elastix(f, m, n, arguments.threads)
    except ImportError as error:
        print(f"itk-elastix is not importable: {error}", file=sys.stderr)
    try:
        import SimpleITK as sitk
        versions["SimpleITK"] = sitk.Version_VersionString()
        if arguments.slow:
            peers["SimpleITK, 5 % samples"] = lambda f, m: simpleitk(f, m, arguments.threads)
    except ImportError as error:
        print(f"SimpleITK is not importable: {error}", file=sys.stderr)
    if not versions:
        sys.exit(common.NO_PEER)
    common.record(**versions)
    binary = arguments.binary or common.bench_binary("register")
    results = {}

    def note(name, seconds, error):
        results.setdefault(name, []).append((seconds, *error))
        print(f"  {name:24} {seconds:7.2f} s   corner error {error[0]:.4f}, at most {error[1]:.4f} voxel", flush=True)

    for seed in range(arguments.pairs):
        (fixed, moving), truth = pair(arguments.side, seed)
        print(f"pair {seed}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            files = [os.path.join(folder, name) for name in ("fixed.raw", "moving.raw", "out.raw")]
            fixed.tofile(files[0])
            moving.tofile(files[1])
            own = ours(binary, arguments.threads, "--once", *files[:2])
            note("tomolith", own["seconds"], corner_error(np.array(own["matrix"]), truth, arguments.side))
            if seed == 0 and "SimpleITK" in versions:
                spent = ours(binary, arguments.threads, "--resample", *files[1:], *truth.ravel())["seconds"]
                out = np.fromfile(files[2], dtype=np.float32).reshape(moving.shape)
                seconds, apart = resample(moving, truth, arguments.threads, out)
                print(f"  resampling: tomolith {spent:.3f} s, sitkBSpline {seconds:.2f} s, apart by {apart:.1e} of the range")
        for name, peer in peers.items():
            seconds, matrix = peer(fixed, moving)
            note(name, seconds, corner_error(matrix, truth, arguments.side))
    print("\nmedian of", arguments.pairs, "pairs")
    for name, rows in results.items():
        seconds, mean, most = (statistics.median(column) for column in zip(*rows))
        print(f"  {name:24} {seconds:7.2f} s   corner error {mean:.4f}, at most {most:.4f} voxel")


if __name__ == "__main__":
    main()
